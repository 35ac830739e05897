"""OpenAPI document of the system: fetched from the services on demand, merged and cached."""

import asyncio
import contextvars
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from portico.gateway.openapi.merge import merge_documents
from portico.gateway.routes import RouteTable
from portico.gateway.upstreams.base import Upstream, UpstreamRequest
from portico.kit.calls.errors import CallFailed
from portico.kit.foundation.clock import Clock
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

TIMEOUT = 5.0
CACHE_SECONDS = 60.0
INCOMPLETE_CACHE_SECONDS = 1.0
MAX_BYTES = 8 << 20
OK = 200
TOKEN_PATH: Final = "/oauth/token"  # noqa: S105  a path
_BEARER: Final[dict[str, list[str]]] = {"bearer": []}
_OAUTH: Final[dict[str, list[str]]] = {"oauth2": []}
_SCOPES: Final = {"openid": "Know who the user is", "api": "Act for the user where no permission is needed"}
_PARAMETER = re.compile(r"{[^}]*}")


class SystemDocument:
    """The document of the whole system, as JSON. It leaves out unreachable services and lists them in its description.

    Args:
        title: The system's name.
        summary: One line that describes the system.
        version: The version of Portico.
        upstreams: The services by name.
        table: The routes of the gateway; operations that it does not route are left out.
        clock: Determines the age of the cached document.
    """

    def __init__(
        self,
        *,
        title: str,
        summary: str,
        version: str,
        upstreams: Mapping[str, Upstream],
        table: RouteTable,
        clock: Clock,
    ) -> None:
        self._title = title
        self._summary = summary
        self._version = version
        self._upstreams = upstreams
        self._routed = {(route.service, route.method, _shape(route.path)) for route in table.routes}
        self._token_path = next((route.path for route in table.routes if route.path.endswith(TOKEN_PATH)), None)
        self._clock = clock
        self._body = b""
        self._until = float("-inf")
        self._rendering: asyncio.Task[bytes] | None = None

    async def render(self) -> bytes:
        """Return the document. Concurrent callers share one rendering."""
        if self._clock.monotonic() < self._until:
            return self._body
        if self._rendering is None:
            # The rendering has its own context, because several requests share its result.
            self._rendering = asyncio.create_task(
                self._fetch_all(), name="openapi-document", context=contextvars.Context()
            )
        return await asyncio.shield(self._rendering)

    async def aclose(self) -> None:
        """Cancel a running rendering."""
        if self._rendering is not None:
            self._rendering.cancel()
            await asyncio.wait([self._rendering])

    async def _fetch_all(self) -> bytes:
        try:
            fetched = await asyncio.gather(*(self._fetch(service) for service in self._upstreams))
            documents = dict(zip(self._upstreams, fetched, strict=True))
            missing = [service for service, document in documents.items() if document is None]
            present = {service: document for service, document in documents.items() if document is not None}
            # Merging and serializing the document takes tens of milliseconds and would block the event loop.
            self._body = await asyncio.to_thread(self._merge, present, missing)
            self._until = self._clock.monotonic() + (INCOMPLETE_CACHE_SECONDS if missing else CACHE_SECONDS)
            return self._body
        finally:
            self._rendering = None

    def _merge(self, documents: Mapping[str, Any], missing: list[str]) -> bytes:
        description = self._summary
        if missing:
            description += f"\n\nNot described here, because the service is unreachable: {', '.join(missing)}."
        info = {"title": self._title, "version": self._version, "description": description}
        merged = merge_documents(info, documents, self._is_routed)
        if self._token_path is not None:
            add_oauth_flows(merged, self._token_path)
        return orjson.dumps(merged)

    def _is_routed(self, service: str, method: str, path: str) -> bool:
        return (service, method, _shape(path)) in self._routed

    async def _fetch(self, service: str) -> dict[str, Any] | None:
        request = UpstreamRequest("GET", b"/openapi.json", b"", [(b"accept", b"application/json")], TIMEOUT)
        try:
            async with asyncio.timeout(TIMEOUT):
                body = await _read(self._upstreams[service], request)
            document: dict[str, Any] = orjson.loads(body)
        except (CallFailed, TimeoutError, ValueError) as error:
            logger.warning("openapi_document_unavailable", source=service, reason=type(error).__name__)
            return None
        return document


async def _read(upstream: Upstream, request: UpstreamRequest) -> bytes:
    """Return the response body. Raises ValueError if the status is not 200 or the body is too large."""
    response = await upstream.send(request, set())
    body = bytearray()
    try:
        if response.status != OK:
            raise ValueError(response.status)
        async for chunk in response.chunks():
            body += chunk
            if len(body) > MAX_BYTES:
                raise ValueError(len(body))
    finally:
        await response.aclose()
    return bytes(body)


def _shape(path: str) -> str:
    """Return a path template without the names of its parameters, because their case depends on the system."""
    return _PARAMETER.sub("{}", path)


def add_oauth_flows(document: dict[str, Any], token_path: str) -> None:
    """Add the password flow and the authorization code flow to a document, for all operations that take a token.

    Swagger UI and generated clients sign users in with them.

    Args:
        document: The document of the system.
        token_path: The path of the token endpoint. The authorization endpoint is beside it.
    """
    urls = {"tokenUrl": token_path, "refreshUrl": token_path}
    authorize = token_path.removesuffix("token") + "authorize"
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["oauth2"] = {
        "type": "oauth2",
        "description": "With an email address and a password, or as a registered client with PKCE.",
        "flows": {
            "password": {**urls, "scopes": {}},
            "authorizationCode": {**urls, "authorizationUrl": authorize, "scopes": dict(_SCOPES)},
        },
    }
    for item in document["paths"].values():
        for operation in item.values():
            requirements = operation.get("security", []) if isinstance(operation, dict) else []
            if _BEARER in requirements:
                requirements.insert(requirements.index(_BEARER) + 1, dict(_OAUTH))
