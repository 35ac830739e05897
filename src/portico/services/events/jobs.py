from datetime import timedelta

from portico.kit import ServiceContext, job
from portico.services.events.planned_changes import finish_abandoned_changes


@job(name="finish-planned-changes", every=timedelta(seconds=30))
async def finish_planned_changes(context: ServiceContext) -> None:
    """Finish the changes of sections, and the deletions, whose processes died."""
    await finish_abandoned_changes(context)
