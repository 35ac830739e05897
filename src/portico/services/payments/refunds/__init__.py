"""Refunds: what is given back of a payment, never more than was charged."""
