"""Codes: discounts, and holds before the sale."""
