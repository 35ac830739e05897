"""Walkthroughs of whole systems with real data. They fail if a response is not as promised."""
