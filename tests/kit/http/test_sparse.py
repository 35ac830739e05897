from typing import Annotated, Any

import pytest
from fastapi import Depends, Query
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant
from starlette.requests import Request

from portico.kit._compat.fastapi_handlers import SparseHandlers


async def filters(colour: str | None = None, tags: Annotated[list[str], Query()] = [], sort: str = "name") -> None:  # noqa: B006  what must not be left to one shared list
    """Some filters."""


async def endpoint(found: Annotated[None, Depends(filters)], needed: int, min_price: int = 0) -> None:
    """Needs a parameter."""


def looked_for(query: str) -> list[str]:
    """The parameters that the handler of a request with this query looks for."""
    made: list[Dependant] = []

    def make(dependant: Dependant) -> Any:
        made.append(dependant)
        return len(made) - 1

    handlers = SparseHandlers(get_dependant(path="/", call=endpoint), make)
    chosen: Any = handlers.for_request(Request({"type": "http", "query_string": query.encode(), "headers": []}))
    dependant = made[chosen]
    return [field.name for each in (dependant, *dependant.dependencies) for field in each.query_params]


class TestSparseHandlers:
    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ("", ["needed", "tags"]),
            ("colour=red", ["needed", "colour", "tags"]),
            ("minPrice=1&needed=2", ["needed", "min_price", "tags"]),
            ("min_price=1&sort=price&other=1", ["needed", "min_price", "tags", "sort"]),
        ],
    )
    def test_look_for_what_is_sent_and_what_has_no_default_of_its_own(self, query: str, names: list[str]) -> None:
        assert looked_for(query) == names

    def test_are_made_once_for_each_set(self) -> None:
        made: list[Dependant] = []

        def make(dependant: Dependant) -> Any:
            made.append(dependant)
            return looked_for

        handlers = SparseHandlers(get_dependant(path="/", call=endpoint), make)
        for number in range(100):
            query = f"needed={number}&unknown_{number}=1".encode()
            handlers.for_request(Request({"type": "http", "query_string": query, "headers": []}))

        assert len(made) == 2  # the whole one, and the one for "needed"
