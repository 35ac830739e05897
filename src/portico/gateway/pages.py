"""The gateway's own pages: health, metrics, API documents."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson

from portico.gateway.health import ServiceHealth
from portico.gateway.openapi import SystemDocument
from portico.gateway.proxy.app import Page
from portico.gateway.proxy.responses import Reply
from portico.gateway.request_head import RequestHead
from portico.kit.http.docs import PATHS, accepts_gzip, doc_page
from portico.kit.http.schema import Case, apply_case
from portico.kit.telemetry.health import Health
from portico.kit.telemetry.metrics import CONTENT_TYPE, Metrics

SYSTEM_PATHS = ("/health", "/health/ready", "/health/detailed", "/metrics", "/openapi.json")
OWN_PATHS: Mapping[str, str] = {path: path for path in (*SYSTEM_PATHS, *PATHS)}
"""Paths of the gateway's own pages, for its policy."""
OPERATOR_PATHS = frozenset(("/health/detailed", "/metrics"))
"""Pages that only clients in OPERATOR_NETWORKS and callers with the permission `gateway:read` may read."""
INTERNAL = OPERATOR_PATHS | {"/health/ready"}
"""Pages that no client of the system needs; an exported proxy configuration does not forward them."""


class Pages:
    """Renders the pages, each named by its path.

    Args:
        title: Title of the API documentation.
        case: Case of JSON member names.
        health: Health of the gateway itself.
        services: Health of the services.
        metrics: Metrics of the gateway.
        document: OpenAPI document of the system.
    """

    def __init__(
        self,
        *,
        title: str,
        case: Case,
        health: Health,
        services: ServiceHealth,
        metrics: Metrics,
        document: SystemDocument,
    ) -> None:
        self._title = title
        self._case: Case = case
        self._health = health
        self._services = services
        self._metrics = metrics
        self._document = document

    def by_path(self) -> dict[str, Page]:
        pages: dict[str, Page] = {
            "/health": self.health,
            "/health/ready": self.ready,
            "/health/detailed": self.detailed,
            "/metrics": self.metrics,
            "/openapi.json": self.openapi,
        }
        return {**pages, **{path: self._documentation(path) for path in PATHS}}

    async def health(self, _: RequestHead) -> Reply:
        """Report the health of the system: healthy if all services are."""
        states = await self._services.states()
        healthy = all(states.values())
        body = {**await self._health.alive(), "status": "healthy" if healthy else "degraded", "services": states}
        return self._json(HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE, body)

    async def ready(self, _: RequestHead) -> Reply:
        """Report whether the gateway itself can take traffic, whatever the state of the services."""
        ready, body = await self._health.ready()
        return self._json(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, body)

    async def detailed(self, _: RequestHead) -> Reply:
        return self._json(HTTPStatus.OK, await self._health.detailed())

    async def metrics(self, _: RequestHead) -> Reply:
        return Reply(200, [(b"content-type", CONTENT_TYPE.encode())], self._metrics.render())

    async def openapi(self, _: RequestHead) -> Reply:
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-cache")]
        return Reply(200, headers, await self._document.render())

    def _documentation(self, path: str) -> Page:
        async def page(head: RequestHead) -> Reply:
            accepted = b",".join(value for name, value in head.headers if name == b"accept-encoding")
            doc = doc_page(path, self._title, compressed=accepts_gzip(accepted.decode("latin-1")))
            return Reply(200, list(doc.headers), doc.body)

        return page

    def _json(self, status: int, body: dict[str, Any]) -> Reply:
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        return Reply(int(status), headers, orjson.dumps(apply_case(body, self._case)))
