"""Answers to public GETs, kept as they went out: a hit costs no parsing, no database and no JSON."""

import hashlib
from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response

from portico.kit.cache.group import CacheGroup

_LONGEST_KEY = 200
_OK = 200
_MADE_ANEW = "content-length"  # by whoever sends the body


class _NotForKeeping(Exception):
    """The endpoint gave an answer that is not to be kept."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


async def cached_response(
    group: CacheGroup, request: Request, make: Callable[[], Awaitable[Response]], seconds: float
) -> Response:
    """The answer to `request` that `group` keeps, or the one that `make` gives, kept for `seconds` if it is a 200.

    Of requests for the same at once one makes it. What it is refused is its own affair, such as a short deadline: the
    others then ask for themselves.
    """
    mine = False

    async def make_bytes() -> bytes:
        nonlocal mine
        mine = True
        response = await make()
        if response.status_code != _OK:
            raise _NotForKeeping(response)
        return _packed(response)

    try:
        return _unpacked(await group.get_or_make(_key(request), make_bytes, seconds))
    except Exception as error:
        if not mine:
            return await make()
        if isinstance(error, _NotForKeeping):
            return error.response
        raise


def _key(request: Request) -> str:
    scope = request.scope
    key = f"{scope['path']}?{scope['query_string'].decode('latin-1')}"
    return key if len(key) <= _LONGEST_KEY else hashlib.sha256(key.encode()).hexdigest()


def _packed(response: Response) -> bytes:
    headers = [(name, value) for name, value in response.headers.items() if name != _MADE_ANEW]
    return orjson.dumps(headers) + b"\n" + bytes(response.body)


def _unpacked(packed: bytes) -> Response:
    headers, _, body = packed.partition(b"\n")
    return Response(body, headers=dict(orjson.loads(headers)))
