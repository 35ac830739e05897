from typing import Annotated, Any

from fastapi import Depends
from fastapi.dependencies.utils import get_dependant
from starlette.requests import Request

from portico.kit._compat.fastapi import lookup, with_direct_lookups

REQUEST = Request({"type": "http", "headers": [], "carried": "a book"})


@lookup
async def carried(request: Request) -> str:
    found: str = request.scope["carried"]
    return found


async def by_fastapi(request: Request) -> str:
    return str(request.method)


async def sharing(what: Annotated[str, Depends(carried)]) -> str:
    return what


Carried = Annotated[str, Depends(carried)]


def left_to_fastapi(endpoint: Any) -> list[str | None]:
    return [each.name for each in with_direct_lookups(get_dependant(path="/", call=endpoint)).dependencies]


class TestDirectLookups:
    async def test_an_endpoint_receives_the_value(self) -> None:
        async def endpoint(what: Carried, number: int) -> str:
            return f"{number} of {what}"

        asked = with_direct_lookups(get_dependant(path="/", call=endpoint))
        call: Any = asked.call

        assert await call(**{str(asked.request_param_name): REQUEST, "number": 2}) == "2 of a book"

    async def test_an_endpoint_can_also_receive_the_request(self) -> None:
        async def endpoint(what: Carried, request: Request) -> tuple[str, Request]:
            return what, request

        call: Any = with_direct_lookups(get_dependant(path="/", call=endpoint)).call

        assert await call(request=REQUEST) == ("a book", REQUEST)

    def test_other_dependencies_are_left_to_fastapi(self) -> None:
        async def endpoint(what: Carried, other: Annotated[str, Depends(by_fastapi)]) -> None:
            """An endpoint with both kinds of dependencies."""

        assert left_to_fastapi(endpoint) == ["other"]

    def test_a_dependency_shared_with_another_is_left_to_fastapi(self) -> None:
        async def endpoint(what: Carried, same: Annotated[str, Depends(sharing)]) -> None:
            """An endpoint that shares a dependency."""

        assert left_to_fastapi(endpoint) == ["what", "same"]

    def test_a_function_that_runs_in_a_thread_is_left_to_fastapi(self) -> None:
        def endpoint(what: Carried) -> None:
            """A blocking endpoint."""

        assert left_to_fastapi(endpoint) == ["what"]
