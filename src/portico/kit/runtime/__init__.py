"""Declarations of services and systems, and the host that runs them."""

from typing import TYPE_CHECKING

from portico.kit.foundation.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from portico.kit.runtime.context import ServiceRuntime, layout_of
    from portico.kit.runtime.host import Host, Migrating
    from portico.kit.runtime.service import Service
    from portico.kit.runtime.system import NoSuchService, System
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "context": "ServiceRuntime layout_of",
            "host": "Host Migrating",
            "service": "Service",
            "system": "NoSuchService System",
        },
    )

__all__ = [
    "Host",
    "Migrating",
    "NoSuchService",
    "Service",
    "ServiceRuntime",
    "System",
    "layout_of",
]
