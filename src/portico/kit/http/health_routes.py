"""Health and metrics routes of every service."""

from typing import Any

from fastapi import Response

from portico.kit.http.context import Context
from portico.kit.http.router import Router
from portico.kit.http.schema import apply_case
from portico.kit.telemetry.metrics import CONTENT_TYPE

router = Router(tags=["health"], prefixed=False, description="Health and metrics", supplementary=True)


@router.get("/health", quiet=True)
async def alive(context: Context) -> dict[str, Any]:
    """Report that this process is alive, and the state of the services that it calls as it sees them."""
    return apply_case(await context.health.alive(), context.system.case)


@router.get("/health/ready", quiet=True)
async def ready(context: Context, response: Response) -> dict[str, Any]:
    """Report whether this service can take traffic: its own database must respond. Other services are ignored."""
    is_ready, answer = await context.health.ready()
    response.status_code = 200 if is_ready else 503
    return apply_case(answer, context.system.case)


@router.get("/health/detailed", quiet=True)
async def detailed(context: Context) -> dict[str, Any]:
    """Report each dependency with its state and latency, and statistics of the process."""
    return apply_case(await context.health.detailed(), context.system.case)


@router.get("/metrics", quiet=True, framework={"response_class": Response, "include_in_schema": False})
async def metrics(context: Context) -> Response:
    """Return the metrics in Prometheus text format."""
    return Response(context.metrics.render(), media_type=CONTENT_TYPE)
