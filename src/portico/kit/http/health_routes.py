"""The routes that every service has: health in three depths, and metrics."""

from typing import Any

from fastapi import Response

from portico.kit.http.context import Context
from portico.kit.http.router import Router
from portico.kit.http.schema import spelled
from portico.kit.telemetry.metrics import CONTENT_TYPE

router = Router(tags=["standing"], prefixed=False)


@router.get("/health", quiet=True)
async def alive(context: Context) -> dict[str, Any]:
    """Say that this process lives, and how the services that it calls look from here."""
    return spelled(await context.health.alive(), context.system.case)


@router.get("/health/ready", quiet=True)
async def ready(context: Context, response: Response) -> dict[str, Any]:
    """Say whether traffic may come: whether this service's own database answers. A neighbour's trouble does not count."""
    is_ready, answer = await context.health.ready()
    response.status_code = 200 if is_ready else 503
    return spelled(answer, context.system.case)


@router.get("/health/detailed")
async def detailed(context: Context) -> dict[str, Any]:
    """Each dependency with its state and latency, and the process's own figures."""
    return spelled(await context.health.detailed(), context.system.case)


@router.get("/metrics", quiet=True, framework={"response_class": Response, "include_in_schema": False})
async def metrics(context: Context) -> Response:
    """What Prometheus scrapes."""
    return Response(context.metrics.render(), media_type=CONTENT_TYPE)
