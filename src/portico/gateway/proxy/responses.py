"""Responses that the gateway creates itself."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.types import Scope, Send

from portico.gateway.forwarding import SECURITY_FIELDS
from portico.gateway.request_head import Header
from portico.kit.foundation.problems import Problem
from portico.kit.http.oauth_errors import OAUTH_MEDIA_TYPE, oauth_error_bytes, oauth_error_headers
from portico.kit.http.problems import MEDIA_TYPE, problem_bytes
from portico.kit.http.schema import Case

POLICY_VIOLATION = 1008  # RFC 6455 section 7.4.1


@dataclass(slots=True)
class Reply:
    """A complete response."""

    status: int
    headers: list[Header] = field(default_factory=list)
    body: bytes = b""


def problem_reply(problem: Problem, *, path: bytes, request_id: str, case: Case) -> Reply:
    """Return a problem document (RFC 9457), in the system's JSON case."""
    instance = path.decode("ascii", "replace")
    body = problem_bytes(problem, instance=instance, request_id=request_id, case=case)
    headers = {"content-type": MEDIA_TYPE, "cache-control": "no-store", **problem.headers}
    return Reply(problem.status, _encoded(headers), body)


def oauth_error_reply(problem: Problem) -> Reply:
    """Return an OAuth error response (RFC 6749 section 5.2)."""
    headers = {"content-type": OAUTH_MEDIA_TYPE, **oauth_error_headers(problem)}
    return Reply(problem.status, _encoded(headers), oauth_error_bytes(problem))


def _encoded(headers: Mapping[str, str]) -> list[Header]:
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]


async def send_reply(send: Send, reply: Reply, added: Iterable[Header]) -> None:
    """Send the response to an HTTP request."""
    present = {name for name, _ in reply.headers}
    headers = [*reply.headers, *(field for field in SECURITY_FIELDS if field[0] not in present), *added]
    if reply.status not in {204, 304}:
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def refuse_websocket(scope: Scope, send: Send, reply: Reply, added: Iterable[Header]) -> None:
    """Refuse a WebSocket handshake with an HTTP response, or by closing if the server does not support that."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
        return
    headers = [*reply.headers, *added, (b"content-length", str(len(reply.body)).encode())]
    with suppress(OSError):  # the client has disconnected
        await send({"type": "websocket.http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": reply.body})
