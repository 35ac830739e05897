"""Holds: places that are reserved for a user until they are sold, given back or expire."""
