"""The routes that every service has: health in three depths, and metrics."""

from typing import Any

from fastapi import Response

from portico.kit.http.router import Router
from portico.kit.http.schema import spelled
from portico.kit.running import Here
from portico.kit.telemetry.metrics import CONTENT_TYPE

router = Router(tags=["standing"], prefixed=False)


@router.get("/health", quiet=True)
async def alive(here: Here) -> dict[str, Any]:
    """Say that this process lives, and how the services that it calls look from here."""
    return spelled(await here.health.alive(), here.case)


@router.get("/health/ready", quiet=True)
async def ready(here: Here, response: Response) -> dict[str, Any]:
    """Say whether traffic may come: whether this service's own database answers. A neighbour's trouble does not count."""
    is_ready, answer = await here.health.ready()
    response.status_code = 200 if is_ready else 503
    return spelled(answer, here.case)


@router.get("/health/detailed")
async def detailed(here: Here) -> dict[str, Any]:
    """Each dependency with its state and latency, and the process's own figures."""
    return spelled(await here.health.detailed(), here.case)


@router.get("/metrics", quiet=True, framework={"response_class": Response, "include_in_schema": False})
async def metrics(here: Here) -> Response:
    """What Prometheus scrapes."""
    return Response(here.metrics.render(), media_type=CONTENT_TYPE)
