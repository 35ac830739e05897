"""Declarations of services and systems, and the host that runs them."""

from typing import TYPE_CHECKING

from portico.kit.foundation.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from portico.kit.runtime.context import Context, OnBehalf, ServiceRuntime, provided
    from portico.kit.runtime.host import Host, Migrating
    from portico.kit.runtime.service import Service
    from portico.kit.runtime.system import NoSuchService, System
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "context": "Context OnBehalf ServiceRuntime provided",
            "host": "Host Migrating",
            "service": "Service",
            "system": "NoSuchService System",
        },
    )

__all__ = [
    "Context",
    "Host",
    "Migrating",
    "NoSuchService",
    "OnBehalf",
    "Service",
    "ServiceRuntime",
    "System",
    "provided",
]
