"""Where NGINX in front of a gateway rightly differs from the table.

NGINX parses a request and writes a new one, so that what it is lenient about never reaches the gateway.
"""

from collections.abc import Iterator
from dataclasses import replace

from tests.gateway.strictness.rows import Fate, Outcome

KEPT, CLOSED, SWITCHED = Fate
GET = Outcome((200,), KEPT, ("GET",))
POST = Outcome((200,), KEPT, ("POST abc",))
SILENT = Outcome((), CLOSED)
WEBSOCKET = Outcome((101,), SWITCHED, ("WEBSOCKET",))


def refused(status: int, fate: Fate = CLOSED) -> Outcome:
    return Outcome((status,), fate)


DIFFERENCES: list[tuple[str, Outcome, tuple[str, ...]]] = [
    ("accepts later minor versions, as RFC 9110 section 2.5 suggests", GET, ("HTTP/1.2", "a version with two digits")),
    (
        "accepts more white space in a request line (RFC 9112 section 3 allows it) and writes its own",
        GET,
        ("a space after the version", "two spaces after the method", "two spaces before the version"),
    ),
    (
        "accepts a bare LF as a line end, as RFC 9112 section 2.2 allows, and writes CRLF",
        GET,
        (
            "a bare LF as the end of the request line",
            "bare LFs everywhere",
            "a value with a bare LF",
            "a bare LF behind a field",
            "a bare LF as the empty line",
        ),
    ),
    (
        "drops lines that are no fields",
        GET,
        ("a line without a colon", "a name with a delimiter", "a name with a byte above ASCII"),
    ),
    (
        "accepts white space and bare LFs between chunks, and control characters in extensions, and encodes the body again",
        POST,
        (
            "a chunk size with white space behind it",
            "bare LFs between chunks",
            "a bare LF behind a chunk size",
            "a bare LF behind a chunk",
            "a bare LF as the last line",
            "a control character in an extension",
        ),
    ),
    (
        "drops trailers unread",
        POST,
        (
            "an invalid trailer",
            "a trailer without a colon",
            "a trailer with a NUL",
            "a trailer with a length",
            "a trailer with a coding",
        ),
    ),
    ("has another status for it", refused(400), ("HTTP/0.9 by name", "the preface of HTTP/2")),
    ("has another status for it", refused(405), ("CONNECT with a path",)),
    (
        "has limits of its own",
        refused(414),
        ("a target longer than a head may be", "a WebSocket with a target of more than 8 KiB"),
    ),
    ("has limits of its own", refused(400), ("a field longer than a head may be", "more fields than a head may hold")),
    ("has limits of its own", Outcome((200, 414), CLOSED, ("GET",)), ("a long target behind a request",)),
    (
        "does not accept a tab around a value, as RFC 9110 section 5.5 demands",
        refused(400),
        ("Host with a tab behind it", "a length with a tab behind it", "a length with white space before it"),
    ),
    ("likewise", refused(501), ("a coding with white space behind it",)),
    (
        "answers 501 for each coding but chunked",
        refused(501),
        (
            "an unknown coding",
            "an unknown coding with a request behind it",
            "a coding that is not last",
            "identity",
            "gzip alone",
            "chunked twice",
            "an empty coding",
            "an empty element before chunked",
            "chunked with a parameter",
            "chunked in quotes",
            "chunked behind a vertical tab",
        ),
    ),
    ("likewise", Outcome((200, 501), CLOSED, ("GET",)), ("an unknown coding behind a request",)),
    ("rejects two lines of codings before it reads them", refused(400), ("gzip and chunked on two lines",)),
    (
        "speaks HTTP/0.9, whose answers have no status; the gateway gets HTTP/1.1",
        SILENT,
        (
            "HTTP/0.9: a request line without a version",
            "HTTP/0.9 with fields",
            "HTTP/0.9 with a space at the end",
        ),
    ),
    ("likewise", Outcome((200,), CLOSED, ("GET",)), ("HTTP/0.9 behind a request",)),
    (
        "keeps its client's connection when the gateway refuses a request, because it knows where the next one begins",
        refused(400, KEPT),
        (
            "a byte above ASCII in the target",
            "a fragment in the target",
            "an unknown method",
            "a Host with a user",
            "a value with a control character",
            "a value with DEL",
            "a WebSocket with a body",
            "a WebSocket by POST",
            "a WebSocket by HEAD",
            "a WebSocket without a key",
            "a WebSocket with an empty key",
            "a WebSocket with two keys",
            "a WebSocket with a short key",
            "a WebSocket with a key that is not base64",
            "a WebSocket with 200 fields",
            "a WebSocket with an extension that cannot be read",
        ),
    ),
    (
        "likewise",
        refused(426, KEPT),
        (
            "a WebSocket without a version",
            "WebSocket version 12",
            "WebSocket version 14",
            "WebSocket version 0",
            "a WebSocket with a version with a leading zero",
            "a WebSocket with a list of versions",
            "a WebSocket with an empty version",
            "a WebSocket with two lines of versions",
        ),
    ),
    ("likewise", refused(404, KEPT), ("a WebSocket at an unknown route",)),
    ("likewise", Outcome((200, 400), KEPT, ("GET",)), ("a refused WebSocket behind a request",)),
    ("likewise", Outcome((200, 426), KEPT, ("GET",)), ("an unknown WebSocket version behind a request",)),
    (
        "forwards an upgrade only on routes of WebSockets",
        GET,
        ("an unknown WebSocket version at a route without WebSockets", "a WebSocket at a route without WebSockets"),
    ),
    (
        "likewise",
        Outcome((200,), KEPT, ("GET {}",)),
        ("a WebSocket with a body, at a route without WebSockets",),
    ),
    ("likewise", Outcome((200,), KEPT, ("POST {}",)), ("a WebSocket by POST with a body",)),
    ("likewise", Outcome((200,), KEPT, ("PUT",)), ("a WebSocket by PUT",)),
    ("likewise", Outcome((200,), KEPT, ("DELETE",)), ("a WebSocket by DELETE",)),
    ("likewise", refused(405, KEPT), ("a WebSocket by OPTIONS",)),
    ("reads the empty body of a handshake and forwards none", WEBSOCKET, ("a WebSocket with a chunked body",)),
    (
        "holds data back until the handshake is accepted",
        WEBSOCKET,
        ("a WebSocket with data before it is accepted", "a WebSocket with a request behind it"),
    ),
    ("forwards HTTP/1.1, which needs a Host", refused(400), ("HTTP/1.0 without a Host",)),
    (
        "writes a Connection field of its own",
        GET,
        (
            "Host named by Connection",
            "Content-Length named by Connection",
            "Content-Type named by Connection",
            "Authorization named by Connection",
            "Cookie named by Connection",
        ),
    ),
    (
        "sends 100 Continue whatever has arrived",
        Outcome((100, 200), KEPT, ("POST abc",)),
        ("Expect and a body at once", "Expect and the beginning of a body"),
    ),
    ("likewise", Outcome((100, 200), KEPT, ("GET",)), ("Expect without a body",)),
    (
        "discards an announced body after an answer, and takes the next request for it",
        Outcome((404,), CLOSED, next_answers=(400,)),
        ("an expected body for an unknown route", "an expected body, and the next request at once"),
    ),
    (
        "forwards whole requests, and so asks for each body and takes the next request for it",
        Outcome((100,), CLOSED, next_answers=(405, 400)),
        ("an expected body for an unknown method",),
    ),
    (
        "likewise",
        Outcome((100,), CLOSED, ("POST",), next_answers=(200, 400)),
        ("an answer before an expected body that the service does not read",),
    ),
    ("forwards whole requests", refused(400), ("an answer before a chunked body that breaks",)),
    (
        "closes a connection whose body is too slow without an answer",
        SILENT,
        (
            "an answer before a body that does not come",
            "an extension without end",
            "a trailer without end",
            "a body that does not come",
            "half a body",
            "half a body of a GET",
            "a chunked body that does not come",
            "half a chunk size",
            "half a chunk",
            "a chunk without its line end",
            "chunks without a last one",
            "half a last chunk",
            "half a trailer",
            "half a body behind an upgrade",
            "half a body in HTTP/1.0",
            "half a body and a request behind it",
        ),
    ),
    ("likewise", Outcome((100,), CLOSED), ("an expected body that does not come",)),
    ("likewise", Outcome((200,), CLOSED, ("GET",)), ("half a body behind a request",)),
    ("closes the connection when a body is too large", refused(413), ("a length above the limit of the route",)),
    (
        "closes a connection whose head is too slow without an answer",
        SILENT,
        (
            "a connection without a request",
            "empty lines only",
            "a part of the method",
            "a part of the request line",
            "a request line without fields",
            "a head without its last line",
            "a head without its last byte",
            "a slow handshake",
            "a slow handshake with an unknown version",
            "a slow head with a length",
        ),
    ),
    ("likewise", Outcome((200,), CLOSED, ("GET",)), ("a slow second head", "a slow head behind a request")),
    ("likewise", Outcome((200,), CLOSED, ("POST abc",)), ("a slow head behind a POST",)),
]


WITHOUT_A_GATEWAY: list[tuple[str, Outcome, tuple[str, ...]]] = [
    ("knows the methods of a path, but not all methods", refused(405, KEPT), ("an unknown method",)),
    ("has no gateway that refuses the Host", GET, ("a Host with a user",)),
    ("refuses the Host, which a service does not read", refused(400), ("a Host with a path", "an empty Host")),
    ("likewise", refused(400), ("a Host of two words",)),
    (
        "forwards the first of two handshake fields",
        WEBSOCKET,
        ("a WebSocket with two keys", "a WebSocket with two lines of versions"),
    ),
    ("knows that a path has WebSockets only", refused(404, KEPT), ("a WebSocket by POST", "a WebSocket by HEAD")),
    (
        "knows the methods of a path",
        Outcome((405,), CLOSED, next_answers=(400,)),
        ("an expected body for an unknown method",),
    ),
]
"""What differs from that if NGINX forwards to the service itself."""


def differences() -> Iterator[tuple[str, Outcome]]:
    """Yield each difference with the name of its row."""
    yield from _each(DIFFERENCES)


def differences_without_a_gateway() -> Iterator[tuple[str, Outcome]]:
    """Yield each difference of NGINX in front of the service itself, with the name of its row."""
    yield from _each(WITHOUT_A_GATEWAY)


def _each(found: list[tuple[str, Outcome, tuple[str, ...]]]) -> Iterator[tuple[str, Outcome]]:
    for why, outcome, names in found:
        for name in names:
            yield name, replace(outcome, why=why)
