import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from portico.kit.cache.base import CacheGroup, CacheTag
from portico.kit.cache.memory import MemoryCache
from portico.kit.foundation.problems import GatewayTimeout
from portico.kit.http.response_cache import cached_response
from portico.kit.http.router import Router


def request_for(path: str = "/books", query: str = "") -> Request:
    return Request({"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": []})


class Endpoint:
    """An endpoint that counts its calls."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.calls = 0
        self.request_for = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Response:
        self.calls += 1
        number = self.calls
        self.request_for.set()
        await self.gate.wait()
        return Response(f"answer {number}", self.status, headers={"etag": f'"{number}"', "x-total-count": "7"})


@pytest.fixture
def group() -> CacheGroup:
    return CacheGroup(MemoryCache(), "books")


class TestCachedResponse:
    async def test_equals_the_first_response(self, group: CacheGroup) -> None:
        endpoint = Endpoint()

        first, second = [await cached_response(group, request_for(), endpoint, 30) for _ in range(2)]

        assert endpoint.calls == 1
        assert (second.body, second.status_code, dict(second.headers)) == (b"answer 1", 200, dict(first.headers))

    async def test_differs_by_path_and_query(self, group: CacheGroup) -> None:
        endpoint = Endpoint()
        requests = [
            request_for(),
            request_for(query="limit=1"),
            request_for("/books/1"),
            request_for(query="x" * 500),
            request_for(query="y" * 500),
        ]

        bodies = {bytes((await cached_response(group, request, endpoint, 30)).body) for request in requests}

        assert len(bodies) == len(requests)

    async def test_is_invalidated_with_its_group_even_while_being_made(self, group: CacheGroup) -> None:
        endpoint = Endpoint()
        endpoint.gate.clear()
        slow = asyncio.create_task(cached_response(group, request_for(), endpoint, 30))
        await endpoint.request_for.wait()
        await group.invalidate()
        endpoint.gate.set()

        assert (await slow).body == b"answer 1"
        assert (await cached_response(group, request_for(), endpoint, 30)).body == b"answer 2"

    async def test_has_status_200(self, group: CacheGroup) -> None:
        endpoint = Endpoint(404)

        bodies = [(await cached_response(group, request_for(), endpoint, 30)).body for _ in range(2)]

        assert bodies == [b"answer 1", b"answer 2"]

    async def test_a_failure_of_one_request_is_not_shared_with_others(self, group: CacheGroup) -> None:
        endpoint, started, gate = Endpoint(), asyncio.Event(), asyncio.Event()

        async def too_slow() -> Response:
            started.set()
            await gate.wait()
            raise GatewayTimeout

        first = asyncio.create_task(cached_response(group, request_for(), too_slow, 30))
        await started.wait()
        second = asyncio.create_task(cached_response(group, request_for(), endpoint, 30))
        await asyncio.sleep(0)
        gate.set()
        outcomes: list[Any] = await asyncio.gather(first, second, return_exceptions=True)

        assert isinstance(outcomes[0], GatewayTimeout)
        assert outcomes[1].body == b"answer 1"


class TestRoute:
    def test_only_public_gets_can_be_cached(self) -> None:
        with pytest.raises(TypeError, match="only responses to a public GET"):
            Router("/books").post("", cache=CacheTag("books"))(Endpoint.__call__)
