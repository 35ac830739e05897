"""Check the signatures of a saga's functions when the saga is built."""

import inspect
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from portico.kit.calls.client import Calls
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.sagas.state import SagaState

Kind = Literal["local", "remote"]

_KINDS: dict[object, Kind] = {UnitOfWork: "local", Calls: "remote"}


def kind_of(function: Callable[..., Any], state: type[SagaState]) -> Kind:
    """Return whether a step's function is local (takes a UnitOfWork) or remote (takes Calls).

    Raises:
        TypeError: The signature is neither `async def f(state, work: UnitOfWork) -> state | None` nor the same with
            `calls: Calls`. A function with both is rejected: it would call other services while it holds locks.
    """
    parameters = _parameters_after_state(function, state)
    if len(parameters) != 1 or parameters[0] not in _KINDS:
        raise TypeError(f"{_qualified_name(function)} must take the state, then either a UnitOfWork or Calls")
    return _KINDS[parameters[0]]


def check_local(function: Callable[..., Any], state: type[SagaState], *optional: type) -> int:
    """Return how many arguments a local function takes: the state, a UnitOfWork, and possibly `optional`.

    Raises:
        TypeError: It takes anything else, or returns a value.
    """
    parameters = _parameters_after_state(function, state)
    if parameters[:1] != [UnitOfWork] or parameters[1:] not in ([], list(optional)):
        more = "".join(f", and optionally {each.__name__}" for each in optional)
        raise TypeError(f"{_qualified_name(function)} must take the state and a UnitOfWork{more}")
    if get_type_hints(function).get("return") is not type(None):
        raise TypeError(f"{_qualified_name(function)} must return None: annotate it with `-> None`")
    return 1 + len(parameters)


def _parameters_after_state(function: Callable[..., Any], state: type[SagaState]) -> list[Any]:
    """Return the annotations of the parameters after the state. Raises TypeError."""
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{_qualified_name(function)} is not an `async def` function")
    try:
        hints = get_type_hints(function)
    except NameError as error:
        raise TypeError(
            f"{_qualified_name(function)} has the annotation {error.name!r}, which is not defined at run time"
        ) from None
    returned = hints.pop("return", object)
    names = list(inspect.signature(function).parameters)
    if not names or hints.get(names[0]) is not state:
        raise TypeError(f"{_qualified_name(function)} must take {state.__name__} as its first parameter")
    if not set(_union_members(returned)) <= {state, type(None)}:
        raise TypeError(f"{_qualified_name(function)} must return {state.__name__} or None")
    return [hints.get(name) for name in names[1:]]


def _union_members(kind: Any) -> tuple[Any, ...]:
    origin = get_origin(kind)
    return get_args(kind) if origin is Union or getattr(origin, "__name__", "") == "UnionType" else (kind,)


def _qualified_name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', function)}"
