from typing import Annotated, Any

import pytest
from fastapi import Depends, Query
from fastapi.dependencies.utils import get_dependant
from starlette.requests import Request

from portico.kit._compat.fastapi import Dependant, SparseHandlers


async def filters(colour: str | None = None, tags: Annotated[list[str], Query()] = [], sort: str = "name") -> None:  # noqa: B006  what must not be left to one shared list
    """Query parameters for filtering."""


async def endpoint(found: Annotated[None, Depends(filters)], needed: int, min_price: int = 0) -> None:
    """An endpoint with a required parameter."""


def looked_for(query: str) -> list[str]:
    """Return the parameters that the handler of a request with this query reads."""
    made: list[Dependant] = []

    def make(dependant: Dependant) -> Any:
        made.append(dependant)
        return len(made) - 1

    handlers = SparseHandlers(get_dependant(path="/", call=endpoint), make, limit=2)
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
    def test_read_parameters_that_are_sent_or_have_no_simple_default(self, query: str, names: list[str]) -> None:
        assert looked_for(query) == names

    def test_are_built_once_per_set_of_parameters(self) -> None:
        made: list[Dependant] = []

        def make(dependant: Dependant) -> Any:
            made.append(dependant)
            return looked_for

        handlers = SparseHandlers(get_dependant(path="/", call=endpoint), make, limit=2)
        for number in range(100):
            query = f"needed={number}&unknown_{number}=1".encode()
            handlers.for_request(Request({"type": "http", "query_string": query, "headers": []}))

        assert len(made) == 2  # the whole one, and the one for "needed"
