"""The gateway's own pages: the start page, health, metrics, API documents."""

from html import escape
from http import HTTPStatus
from typing import Any

import orjson

from portico.gateway.health import ServiceHealth
from portico.gateway.openapi import SystemDocument
from portico.gateway.proxy.app import Page
from portico.gateway.proxy.responses import Reply
from portico.gateway.request_head import RequestHead
from portico.gateway.system_policy import START
from portico.kit.http.docs import PATHS, accepts_gzip, doc_page
from portico.kit.http.schema import Case, apply_case
from portico.kit.telemetry.health import Health
from portico.kit.telemetry.metrics import CONTENT_TYPE, Metrics

# A page with inline styles and without scripts.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_LINKS = {
    "documentation": ("/docs", "API documentation, to try calls (Swagger UI)"),
    "reference": ("/redoc", "API reference, to read (ReDoc)"),
    "openapi": ("/openapi.json", "OpenAPI document"),
    "health": ("/health", "Health of the services"),
}
_START_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }}</style>
</head>
<body>
<h1>{name}</h1>
<p>{summary}.</p>
<ul>
{links}
</ul>
<p>On the command line, <code>portico explain GET /products</code> prints what the gateway decides about a request, and why.</p>
</body>
</html>
"""


class Pages:
    """Renders the pages, each named by its path.

    Args:
        title: Title of the API documentation: the system's name.
        summary: One line that describes the system.
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
        summary: str,
        case: Case,
        health: Health,
        services: ServiceHealth,
        metrics: Metrics,
        document: SystemDocument,
    ) -> None:
        self._title = title
        self._summary = summary
        self._case: Case = case
        self._health = health
        self._services = services
        self._metrics = metrics
        self._document = document

    def by_path(self) -> dict[str, Page]:
        pages: dict[str, Page] = {
            START: self.start,
            "/health": self.health,
            "/health/ready": self.ready,
            "/health/detailed": self.detailed,
            "/metrics": self.metrics,
            "/openapi.json": self.openapi,
        }
        return {**pages, **{path: self._documentation(path) for path in PATHS}}

    async def start(self, head: RequestHead) -> Reply:
        """Name the system and link to its pages: as HTML for browsers, as JSON for others."""
        varying = [(b"vary", b"Accept"), (b"cache-control", b"no-cache")]
        if b"text/html" not in b",".join(value for name, value in head.headers if name == b"accept"):
            links = {name: path for name, (path, _) in _LINKS.items()}
            body = orjson.dumps({"name": self._title, "summary": self._summary, **links})
            return Reply(200, [(b"content-type", b"application/json"), *varying], body)
        items = "\n".join(f'<li><a href="{path}">{text}</a></li>' for path, text in _LINKS.values())
        page = _START_PAGE.format(name=escape(self._title), summary=escape(self._summary), links=items)
        html = [(b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", _POLICY.encode())]
        return Reply(200, [*html, *varying], page.encode())

    async def health(self, _: RequestHead) -> Reply:
        """Report the health of the system: healthy if all services are healthy."""
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
