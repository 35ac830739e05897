"""The systems: which services, where, behind which routes."""

NAMES = ("commerce", "catalog")
"""the systems that Portico brings, each in a module of its name"""
