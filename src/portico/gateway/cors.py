"""CORS: the origins from which a browser may call the gateway (Fetch standard, CORS protocol)."""

from collections.abc import Iterable

from portico.gateway.request_head import Fields, Header
from portico.kit.http.app import EXPOSED_HEADERS

EXPOSED = ", ".join(EXPOSED_HEADERS).encode()
MAX_AGE = b"600"
VARY = (b"vary", b"Origin")
ANY_ORIGIN: tuple[Header, ...] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", EXPOSED),
)


class Cors:
    """Allow the configured origins, with credentials. Origins are compared exactly.

    Args:
        origins: Origins such as "http://localhost:3000".

    Raises:
        ValueError: an origin is `*`, which browsers refuse together with credentials.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        names = [origin.rstrip("/") for origin in origins]
        if "*" in names:
            raise ValueError("CORS_ORIGINS cannot be *, because credentials are allowed. List each origin.")
        self._origins = {name.encode(): self._fields(name.encode()) for name in names}

    @property
    def origins(self) -> tuple[str, ...]:
        """The allowed origins."""
        return tuple(origin.decode() for origin in self._origins)

    def response_headers(self, headers: Iterable[Header], *, any_origin: bool = False) -> list[Header]:
        """Return the CORS headers of the response to a request with these headers.

        Every response has `Vary: Origin`, even if the request has no Origin. Otherwise a shared cache would mix them
        up.

        Args:
            headers: The headers of the request.
            any_origin: Whether any other origin may read the response, without credentials.
        """
        others = ANY_ORIGIN if any_origin else ()
        if not self._origins:
            return [*others]
        origin = next((value for name, value in headers if name == b"origin"), b"")
        return [VARY, *self._origins.get(origin, others)]

    def preflight(self, fields: Fields, methods: tuple[str, ...], *, any_origin: bool = False) -> list[Header]:
        """Return the headers of a preflight response: the path's methods and the request headers that are allowed."""
        vary = (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
        origin = fields.get(b"origin") or b""
        allowed = self._origins[origin][:2] if origin in self._origins else ANY_ORIGIN[:1] if any_origin else None
        if allowed is None:
            return [vary]
        requested = fields.get(b"access-control-request-headers")
        headers = [vary, *allowed, (b"access-control-allow-methods", ", ".join(methods).encode())]
        if requested is not None:
            headers.append((b"access-control-allow-headers", requested))
        return [*headers, (b"access-control-max-age", MAX_AGE)]

    @staticmethod
    def _fields(origin: bytes) -> list[Header]:
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", EXPOSED),
        ]
