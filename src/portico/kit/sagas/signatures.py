"""What a step's functions take, told by their annotations when the saga is built."""

import inspect
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from portico.kit.calls.client import Calls
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.sagas.state import SagaState

Kind = Literal["local", "remote"]

_KINDS: dict[object, Kind] = {UnitOfWork: "local", Calls: "remote"}


def kind_of(function: Callable[..., Any], state: type[SagaState]) -> Kind:
    """Whether a step's function is local (takes a UnitOfWork) or remote (takes Calls).

    Raises:
        TypeError: It is not `async def f(state, work: UnitOfWork) -> state | None` or the same with `calls: Calls`. One
            that took both would call others while it holds locks, and could not share its commit with the progress.
    """
    taken = _taken(function, state)
    if len(taken) != 1 or taken[0] not in _KINDS:
        raise TypeError(f"{_named(function)} takes the state, then either UnitOfWork or Calls")
    return _KINDS[taken[0]]


def check_local(function: Callable[..., Any], state: type[SagaState], *also: type) -> int:
    """How many arguments a function of the saga's own database takes: the state, a UnitOfWork, and maybe `also`.

    Raises:
        TypeError: It takes anything else, or answers with something.
    """
    taken = _taken(function, state)
    if taken[:1] != [UnitOfWork] or taken[1:] not in ([], list(also)):
        more = "".join(f", and may take {each.__name__}" for each in also)
        raise TypeError(f"{_named(function)} takes the state and a UnitOfWork{more}")
    if get_type_hints(function).get("return") is not type(None):
        raise TypeError(f"{_named(function)} answers with nothing: annotate it `-> None`")
    return 1 + len(taken)


def _taken(function: Callable[..., Any], state: type[SagaState]) -> list[Any]:
    """The annotations of what comes after the state. Raises TypeError."""
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{_named(function)} is no `async def` function")
    try:
        hints = get_type_hints(function)
    except NameError as error:
        raise TypeError(
            f"{_named(function)} is annotated with {error.name!r}, which is not known at run time"
        ) from None
    answered = hints.pop("return", object)
    names = list(inspect.signature(function).parameters)
    if not names or hints.get(names[0]) is not state:
        raise TypeError(f"{_named(function)} takes {state.__name__} first")
    if not set(_alternatives(answered)) <= {state, type(None)}:
        raise TypeError(f"{_named(function)} answers with {state.__name__}, or with nothing")
    return [hints.get(name) for name in names[1:]]


def _alternatives(kind: Any) -> tuple[Any, ...]:
    origin = get_origin(kind)
    return get_args(kind) if origin is Union or getattr(origin, "__name__", "") == "UnionType" else (kind,)


def _named(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', function)}"
