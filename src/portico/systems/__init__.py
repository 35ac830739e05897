"""The systems: which services, where, behind which routes."""
