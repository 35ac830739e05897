"""Dependencies of endpoints that only look up what the request carries: who calls, the unit of work, the service."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from fastapi.dependencies.models import Dependant

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

_REQUEST = "portico_request"


def lookup(function: F) -> F:
    """Mark a dependency that takes the request alone, refuses nothing and does nothing else.

    FastAPI spends about 25 µs on each dependency, and an endpoint has half a dozen. These are asked without it.
    """
    function.is_lookup = True  # type: ignore[attr-defined]  # a function takes any attribute
    return function


def asked_directly(dependant: Dependant) -> Dependant:
    """`dependant` whose lookups are made by its call itself, right before the endpoint; the others go by FastAPI."""
    endpoint: Any = dependant.call
    lookups = list(_lookups(dependant))
    if not (lookups and iscoroutinefunction(endpoint)):
        return dependant
    request_name = dependant.request_param_name or _REQUEST
    wanted = dependant.request_param_name is not None

    @wraps(endpoint)
    async def call(**values: Any) -> Any:
        request = values[request_name] if wanted else values.pop(request_name)
        for name, look_up in lookups:
            values[name] = await look_up(request)
        return await endpoint(**values)

    asked = {name for name, _ in lookups}
    rest = [each for each in dependant.dependencies if each.name not in asked]
    return replace(dependant, call=call, dependencies=rest, request_param_name=request_name)


def _lookups(dependant: Dependant) -> Iterator[tuple[str, Callable[[Any], Awaitable[Any]]]]:
    """Those that nothing else depends on: two who share a dependency share what it gives."""
    times = Counter(_calls(dependant))
    for each in dependant.dependencies:
        if getattr(each.call, "is_lookup", False) and each.name is not None and times[each.call] == 1:
            yield each.name, each.call  # type: ignore[misc]  # what is marked is a function


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any] | None]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)
