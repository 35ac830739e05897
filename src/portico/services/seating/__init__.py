"""Seating: the places of shows, and who holds them."""
