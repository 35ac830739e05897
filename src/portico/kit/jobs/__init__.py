"""Scheduled work: each job runs once per interval among all processes of a service."""

from typing import TYPE_CHECKING

from portico.kit.foundation.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from portico.kit.jobs.runner import job
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "runner": "job",
        },
    )

__all__ = [
    "job",
]
