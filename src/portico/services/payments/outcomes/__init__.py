"""Outcomes: what the provider says became of a charge, asked for and written down once."""
