"""The shipped systems: their services, ports and roles."""

NAMES = ("commerce", "catalog", "ticketing")
"""The shipped systems. Each is in the module of the same name."""
