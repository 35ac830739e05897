"""Declarations of services and systems, and the host that runs them."""
