"""The gateway: one way in. It knows routes, not services."""
