"""What the gateway answers itself."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from starlette.types import Scope, Send

from portico.gateway.forwarding import SECURITY_FIELDS
from portico.gateway.request_head import Header
from portico.kit.foundation.problems import Problem
from portico.kit.http.problems import MEDIA_TYPE, problem_bytes
from portico.kit.http.schema import Case

REFUSED_SOCKET = 1008  # RFC 6455 section 7.4.1: policy violation


@dataclass(slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: list[Header] = field(default_factory=list)
    body: bytes = b""


def problem_reply(problem: Problem, *, path: bytes, request_id: str, case: Case) -> Reply:
    """A problem document (RFC 9457), in the system's spelling."""
    instance = path.decode("ascii", "replace")
    body = problem_bytes(problem, instance=instance, request_id=request_id, case=case)
    own = [(name.encode(), value.encode("latin-1", "replace")) for name, value in problem.headers.items()]
    return Reply(problem.status, [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store"), *own], body)


async def send_reply(send: Send, reply: Reply, added: Iterable[Header]) -> None:
    """Answer an HTTP request."""
    present = {name for name, _ in reply.headers}
    headers = [*reply.headers, *(one for one in SECURITY_FIELDS if one[0] not in present), *added]
    if reply.status not in {204, 304}:
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def refuse_socket(scope: Scope, send: Send, reply: Reply, added: Iterable[Header]) -> None:
    """Answer a WebSocket handshake with an ordinary answer, where the server can."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": REFUSED_SOCKET, "reason": ""})
        return
    headers = [*reply.headers, *added, (b"content-length", str(len(reply.body)).encode())]
    await send({"type": "websocket.http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": reply.body})
