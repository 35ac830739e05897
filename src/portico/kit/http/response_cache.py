"""Response cache for public GETs. It stores complete responses: a hit needs no parsing, database or JSON."""

import hashlib
from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response

from portico.kit.cache.base import CacheGroup
from portico.kit.http.request import combined_field

_MAX_KEY_LENGTH = 200
_OK = 200
_RECOMPUTED_HEADER = "content-length"  # set again when the response is sent


class _NotCacheable(Exception):
    """The response cannot be cached."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


async def cached_response(
    group: CacheGroup, request: Request, make: Callable[[], Awaitable[Response]], seconds: float
) -> Response:
    """Return the cached response to `request`, or else the one that `make` returns.

    A response with status 200 is cached for `seconds`. Of several concurrent requests, one calls `make`. If it fails,
    for example because of a short deadline, each of the others calls `make`.
    """
    mine = False

    async def make_bytes() -> bytes:
        nonlocal mine
        mine = True
        response = await make()
        if response.status_code != _OK:
            raise _NotCacheable(response)
        return _serialize(response)

    try:
        return _deserialize(await group.get_or_make(_key(request), make_bytes, seconds))
    except Exception as error:
        if not mine:
            return await make()
        if isinstance(error, _NotCacheable):
            return error.response
        raise


def _key(request: Request) -> str:
    scope = request.scope
    key = f"{scope['path']}?{scope['query_string'].decode('latin-1')}"
    return key if len(key) <= _MAX_KEY_LENGTH else hashlib.sha256(key.encode()).hexdigest()


def _serialize(response: Response) -> bytes:
    headers = {name: combined_field(response.headers, name) for name in response.headers if name != _RECOMPUTED_HEADER}
    return orjson.dumps(headers) + b"\n" + bytes(response.body)


def _deserialize(packed: bytes) -> Response:
    headers, _, body = packed.partition(b"\n")
    return Response(body, headers=orjson.loads(headers))
