"""Scheduled jobs: each runs once per interval among all processes of a service."""

from typing import TYPE_CHECKING

from portico.kit.foundation.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from portico.kit.jobs.runner import Job, job
else:
    __getattr__ = lazy_exports(__name__, {"runner": "Job job"})

__all__ = ["Job", "job"]
