from collections.abc import Callable
from typing import Annotated, Any

import orjson
import pytest
from fastapi import BackgroundTasks, Depends, Header, Response
from fastapi.exceptions import ResponseValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from portico.kit._compat import is_enabled
from portico.kit._compat.fastapi_direct import DirectRoutes, direct_handler, is_direct

pytestmark = pytest.mark.skipif(not is_enabled("fastapi_direct"), reason="the fast path is switched off")


class Seat(BaseModel):
    row: str


class Place(BaseModel):
    show: int
    row: str
    token: str | None


async def choose(show: int, seat: Seat, x_token: Annotated[str | None, Header()] = None) -> Place:
    """Endpoint with a parameter in the path, one in a header, and a body."""
    return Place(show=show, row=seat.row, token=x_token)


async def need_header(show: int, x_token: Annotated[str, Header()]) -> Response:
    """Endpoint with a required header."""
    return Response(f"{show} {x_token}")


async def many(show: int, x_token: Annotated[list[str], Header()]) -> None:
    """Endpoint with a header that has several values."""


def blocking(show: int) -> None:
    """Endpoint that runs in a thread."""


async def later(show: int, tasks: BackgroundTasks) -> None:
    """Endpoint with a parameter of FastAPI's own."""


async def depending(show: int, found: Annotated[None, Depends(blocking)]) -> None:
    """Endpoint with a dependency."""


async def broken(show: int) -> Place:
    """Endpoint that returns something else than it declares."""
    return {"show": show}  # type: ignore[return-value]


def route_to(endpoint: Callable[..., Any], path: str = "/shows/{show}", method: str = "POST") -> APIRoute:
    return APIRoute(path, endpoint, methods=[method])


def request_with(show: str, body: bytes = b"", **headers: str) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path_params": {"show": show}, "headers": raw}, receive)


async def answer_of(endpoint: Callable[..., Any], request: Request) -> bytes:
    """Return the body of the answer to a request, or `otherwise` if FastAPI's handler has to answer it."""

    async def otherwise(_: Request) -> Response:
        return Response("otherwise")

    route = route_to(endpoint)
    response = await direct_handler(route, route.dependant, otherwise)(request)
    return bytes(response.body)


class TestIsDirect:
    @pytest.mark.parametrize("endpoint", [choose, need_header, many])
    def test_if_the_endpoint_needs_nothing_of_fastapi(self, endpoint: Callable[..., Any]) -> None:
        route = route_to(endpoint)

        assert is_direct(route, route.dependant)

    @pytest.mark.parametrize("endpoint", [blocking, later, depending])
    def test_not_if_it_needs_threads_tasks_or_dependencies(self, endpoint: Callable[..., Any]) -> None:
        route = route_to(endpoint)

        assert not is_direct(route, route.dependant)


class TestDirectHandlers:
    async def test_render_what_the_endpoint_returns(self) -> None:
        answer = await answer_of(choose, request_with("7", b'{"row": "A"}', **{"x-token": "t"}))

        assert orjson.loads(answer) == {"show": 7, "row": "A", "token": "t"}

    async def test_use_defaults_of_headers(self) -> None:
        answer = await answer_of(choose, request_with("7", b'{"row": "A"}'))

        assert orjson.loads(answer) == {"show": 7, "row": "A", "token": None}

    async def test_name_the_endpoint_whose_result_is_invalid(self) -> None:
        with pytest.raises(ResponseValidationError) as caught:
            await answer_of(broken, request_with("7"))

        assert f'File "{__file__}", line {broken.__code__.co_firstlineno}, in broken' in str(caught.value)
        assert "POST /shows/{show}" in str(caught.value)

    async def test_return_a_response_as_it_is(self) -> None:
        assert await answer_of(need_header, request_with("7", **{"x-token": "t"})) == b"7 t"

    @pytest.mark.parametrize(
        ("endpoint", "request_"),
        [
            (choose, request_with("seven", b'{"row": "A"}')),
            (choose, request_with("7", b'{"row": 1}')),
            (choose, request_with("7", b"null")),
            (need_header, request_with("7")),
            (many, request_with("7", **{"x-token": "t"})),
        ],
    )
    async def test_leave_other_requests_to_fastapi(self, endpoint: Callable[..., Any], request_: Request) -> None:
        assert await answer_of(endpoint, request_) == b"otherwise"


async def served(scope: Scope, receive: Receive, send: Send) -> None:
    scope["answered_by"].append(dict(scope["path_params"]))


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    scope["answered_by"].append("app")


async def answered_by(routes: list[tuple[Any, Any]], method: str, path: str, root_path: str = "") -> Any:
    scope = {"type": "http", "method": method, "path": path, "root_path": root_path, "answered_by": []}
    await DirectRoutes(app, routes)(scope, None, None)  # type: ignore[arg-type]  # nothing is received or sent
    return scope["answered_by"][0]


class TestDirectRoutes:
    ROUTES = ((route_to(choose, "/shows/new"), None), (route_to(choose, "/shows/{show}"), served))

    @pytest.mark.parametrize(
        ("method", "path", "expected"),
        [
            ("POST", "/shows/7", {"show": "7"}),
            ("GET", "/shows/7", "app"),
            ("POST", "/shows/new", "app"),  # an earlier route matches
            ("POST", "/other", "app"),
        ],
    )
    async def test_serve_the_first_route_that_matches(self, method: str, path: str, expected: Any) -> None:
        assert await answered_by([*self.ROUTES], method, path) == expected

    async def test_leave_what_follows_a_mount_to_the_app(self) -> None:
        assert await answered_by([(Mount("/", app), None), *self.ROUTES], "POST", "/shows/7") == "app"

    async def test_leave_requests_below_a_root_path_to_the_app(self) -> None:
        assert await answered_by([*self.ROUTES], "POST", "/root/shows/7", "/root") == "app"
