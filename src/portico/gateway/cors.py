"""Which other origins a browser may let speak to the gateway (Fetch standard, CORS protocol)."""

from collections.abc import Iterable

from portico.gateway.request_head import Fields, Header

EXPOSED = b"ETag, Link, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID, X-Total-Count"
MAX_AGE = b"600"
VARY = (b"vary", b"Origin")


class Cors:
    """Allows the configured origins, with credentials. An origin is compared whole; `*` is refused.

    Args:
        origins: Such as "http://localhost:3000".
    """

    def __init__(self, origins: Iterable[str]) -> None:
        names = [origin.rstrip("/") for origin in origins]
        if "*" in names:
            raise ValueError("CORS_ORIGINS can't be *: credentials are allowed, so name each origin")
        self._origins = {name.encode(): self._fields(name.encode()) for name in names}

    def answer_fields(self, headers: Iterable[Header]) -> list[Header]:
        """What an answer says to a request with these fields: that another origin may read it, if it may.

        Every answer varies by origin, also that to a request without one: a shared cache would mix them up.
        """
        if not self._origins:
            return []
        for name, value in headers:
            if name == b"origin":
                return [VARY, *self._origins.get(value, ())]
        return [VARY]

    def preflight(self, fields: Fields, methods: tuple[str, ...]) -> list[Header]:
        """What the answer to a preflight says: which methods the path has, and the header fields asked for."""
        vary = (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
        allowed = self._origins.get(fields.get(b"origin") or b"")
        if allowed is None:
            return [vary]
        asked = fields.get(b"access-control-request-headers")
        answer = [vary, *allowed[:2], (b"access-control-allow-methods", ", ".join(methods).encode())]
        if asked is not None:
            answer.append((b"access-control-allow-headers", asked))
        return [*answer, (b"access-control-max-age", MAX_AGE)]

    @staticmethod
    def _fields(origin: bytes) -> list[Header]:
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", EXPOSED),
        ]
