"""The services' OpenAPI documents, fetched as they are asked for and kept for a while."""

import asyncio
import contextvars
from collections.abc import Mapping
from typing import Any

import orjson

from portico.gateway.documents.merging import merge
from portico.gateway.routes import Route, RouteTable
from portico.gateway.upstreams.base import Sending, Upstream
from portico.kit.calls.errors import CallFailed
from portico.kit.foundation.clock import Clock
from portico.kit.telemetry.logs import get_logger

log = get_logger(__name__)

LIMIT = 5.0
KEPT = 60.0
KEPT_INCOMPLETE = 1.0
MOST_BYTES = 8 << 20
OK = 200


class Documents:
    """The whole system's document, as JSON. A service that is away is left out, and the document says so.

    Args:
        title: The system's name.
        summary: What it is, in a line.
        version: Of what runs.
        upstreams: The services by name.
        table: What the gateway routes; operations for services only are not in it.
        clock: Tells how old a document is.
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
        self._routed = {(route.service, route.method, _plain(route)) for route in table.routes}
        self._clock = clock
        self._body = b""
        self._until = float("-inf")
        self._making: asyncio.Task[bytes] | None = None

    async def document(self) -> bytes:
        """The document. Whoever asks while it is being made shares it."""
        if self._clock.monotonic() < self._until:
            return self._body
        if self._making is None:
            # In a context of its own: the document serves others too.
            self._making = asyncio.create_task(self._make(), name="OpenAPI document", context=contextvars.Context())
        return await asyncio.shield(self._making)

    async def aclose(self) -> None:
        """Stop making."""
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait([self._making])

    async def _make(self) -> bytes:
        try:
            fetched = await asyncio.gather(*(self._fetch(service) for service in self._upstreams))
            found = dict(zip(self._upstreams, fetched, strict=True))
            missing = [service for service, document in found.items() if document is None]
            present = {service: document for service, document in found.items() if document is not None}
            # Merging and writing a whole system's document takes tens of milliseconds.
            self._body = await asyncio.to_thread(self._merged, present, missing)
            self._until = self._clock.monotonic() + (KEPT_INCOMPLETE if missing else KEPT)
            return self._body
        finally:
            self._making = None

    def _merged(self, documents: Mapping[str, Any], missing: list[str]) -> bytes:
        description = self._summary
        if missing:
            description += f"\n\nNot reachable just now, so not described here: {', '.join(missing)}."
        info = {"title": self._title, "version": self._version, "description": description}
        return orjson.dumps(merge(info, documents, lambda *asked: asked in self._routed))

    async def _fetch(self, service: str) -> dict[str, Any] | None:
        request = Sending("GET", b"/openapi.json", b"", [(b"accept", b"application/json")], LIMIT)
        try:
            async with asyncio.timeout(LIMIT):
                body = await _read(self._upstreams[service], request)
            document: dict[str, Any] = orjson.loads(body)
        except (CallFailed, TimeoutError, ValueError) as error:
            log.warning("openapi_unreadable", of=service, reason=type(error).__name__)
            return None
        return document


async def _read(upstream: Upstream, request: Sending) -> bytes:
    """The body of a good answer. Raises ValueError for another."""
    answer = await upstream.send(request, set())
    body = bytearray()
    try:
        if answer.status != OK:
            raise ValueError(answer.status)
        async for chunk in answer.chunks():
            body += chunk
            if len(body) > MOST_BYTES:
                raise ValueError(len(body))
    finally:
        await answer.aclose()
    return bytes(body)


def _plain(route: Route) -> str:
    """The template as OpenAPI writes it, without converters."""
    return route.path.replace(":path}", "}")
