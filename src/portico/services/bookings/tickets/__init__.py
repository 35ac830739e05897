"""Tickets, their codes, and their transfer to other people."""
