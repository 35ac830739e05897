"""API gateway: the single entry point of a system. It routes, authenticates and rate-limits requests to services."""

from typing import TYPE_CHECKING

from portico.kit.foundation.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from portico.gateway.app import Gateway
    from portico.gateway.system_policy import policy_of
else:
    __getattr__ = lazy_exports(__name__, {"app": "Gateway", "system_policy": "policy_of"})

__all__ = ["Gateway", "policy_of"]
