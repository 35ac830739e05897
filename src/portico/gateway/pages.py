"""What the gateway answers itself: health, metrics, documents."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson

from portico.gateway.documents import Documents
from portico.gateway.health import Services
from portico.gateway.proxy.app import Page
from portico.gateway.proxy.responses import Reply
from portico.gateway.request_head import RequestHead
from portico.kit.http.docs import PATHS, doc_page
from portico.kit.http.schema import Case, spelled
from portico.kit.telemetry.health import Health
from portico.kit.telemetry.metrics import CONTENT_TYPE, Metrics

STANDING = ("/health", "/health/ready", "/health/detailed", "/metrics", "/openapi.json")
OWN_PATHS: Mapping[str, str] = {path: path for path in (*STANDING, *PATHS)}
"""The paths that are the gateway's own, for its policy."""
INTERNAL = frozenset(("/health/ready", "/health/detailed", "/metrics"))
"""Those of them that are for who runs the system: a proxy in front keeps them back."""


class Pages:
    """Makes the answers, each named by its path.

    Args:
        title: What the documentation is headed with.
        case: How the system spells JSON.
        health: The gateway's own.
        services: How the services are.
        metrics: The gateway's own.
        documents: The system's OpenAPI document.
    """

    def __init__(
        self,
        *,
        title: str,
        case: Case,
        health: Health,
        services: Services,
        metrics: Metrics,
        documents: Documents,
    ) -> None:
        self._title = title
        self._case: Case = case
        self._health = health
        self._services = services
        self._metrics = metrics
        self._documents = documents

    def by_path(self) -> dict[str, Page]:
        pages: dict[str, Page] = {
            "/health": self.alive,
            "/health/ready": self.ready,
            "/health/detailed": self.detailed,
            "/metrics": self.scraped,
            "/openapi.json": self.openapi,
        }
        return {**pages, **{path: self._documentation(path) for path in PATHS}}

    async def alive(self, _: RequestHead) -> Reply:
        """The system: healthy where all services are."""
        states = await self._services.states()
        healthy = all(states.values())
        answer = {**await self._health.alive(), "status": "healthy" if healthy else "degraded", "services": states}
        return self._json(HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE, answer)

    async def ready(self, _: RequestHead) -> Reply:
        """Whether the gateway itself may get traffic; a service's trouble does not count."""
        ready, answer = await self._health.ready()
        return self._json(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, answer)

    async def detailed(self, _: RequestHead) -> Reply:
        return self._json(HTTPStatus.OK, await self._health.detailed())

    async def scraped(self, _: RequestHead) -> Reply:
        return Reply(200, [(b"content-type", CONTENT_TYPE.encode())], self._metrics.render())

    async def openapi(self, _: RequestHead) -> Reply:
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-cache")]
        return Reply(200, headers, await self._documents.document())

    def _documentation(self, path: str) -> Page:
        async def page(head: RequestHead) -> Reply:
            accepted = b",".join(value for name, value in head.headers if name == b"accept-encoding")
            found = doc_page(path, self._title, accepts_gzip=b"gzip" in accepted)
            return Reply(200, list(found.headers), found.body)

        return page

    def _json(self, status: int, answer: dict[str, Any]) -> Reply:
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        return Reply(int(status), headers, orjson.dumps(spelled(answer, self._case)))
