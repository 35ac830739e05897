"""Raw ASGI requests, for requests that HTTP clients cannot send."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from portico.testing.running_service import RunningService


@dataclass
class Received:
    """What the app sent: the status, every header in order, and the body."""

    status_code: int
    raw_headers: list[tuple[str, str]]
    content: bytes

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.raw_headers)

    def json(self) -> Any:
        return orjson.loads(self.content)


async def send(
    loans: RunningService,
    method: str,
    path: str,
    *,
    query: str = "",
    headers: Iterable[tuple[str, str]] = (),
    chunks: Iterable[bytes] = (b"",),
    cut: bool = False,
    stalls: asyncio.Event | None = None,
) -> Received:
    """Send a request in `chunks`. With `cut`, disconnect after them. With `stalls`, set it and send no more."""
    waiting = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if stalls is not None:
        pass
    elif cut:
        waiting.append({"type": "http.disconnect"})
    else:
        waiting[-1]["more_body"] = False
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if stalls is not None and not waiting:
            stalls.set()
            await asyncio.Event().wait()
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def keep(message: dict[str, Any]) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 80),
    }
    await loans.channel._apps[loans.context.name](scope, receive, keep)
    head = messages[0]
    response_for = [(name.decode().lower(), value.decode("latin-1")) for name, value in head["headers"]]
    return Received(head["status"], response_for, b"".join(message.get("body", b"") for message in messages[1:]))
