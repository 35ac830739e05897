"""The gateway: one way in. It knows routes, not services."""

from portico.gateway.app import Gateway, policy_of

__all__ = ["Gateway", "policy_of"]
