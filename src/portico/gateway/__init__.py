"""API gateway: the single entry point of a system. It routes, authenticates and rate-limits requests to services."""

from portico.gateway.app import Gateway, policy_of

__all__ = ["Gateway", "policy_of"]
