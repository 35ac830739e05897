"""Every use of a library's private API, in modules named after the libraries, and the switch of the optional ones.

A module checks at import the names that it relies on, and raises `UnsupportedVersion` if the installed version lacks one.

What only saves time is a fast path: without it, the library's public API does the same work. COMPAT_FAST_PATHS names the
fast paths to use, and is read when this package is imported. docs/decisions/0030 has what each of them saves.
"""

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

VARIABLE: Final = "COMPAT_FAST_PATHS"
FAST_PATHS: Final = (
    "aiosqlite_cursor",
    "fastapi_direct",
    "fastapi_lookups",
    "fastapi_query",
    "nats_publish",
    "sqlalchemy_compiled",
    "sqlalchemy_core",
    "uvicorn_streams",
)
_NONE = "none"


class UnsupportedVersion(ImportError):
    """The installed version of a library lacks a private name that Portico relies on."""


@dataclass(frozen=True)
class Library:
    """A library whose private names a module uses.

    Args:
        name: The name of the distribution.
        versions: The versions that the module was written for, such as `0.165`.
    """

    name: str
    versions: str

    @contextmanager
    def shape(self, fast_path: str | None = None) -> Iterator[None]:
        """Check what the block imports and requires.

        Args:
            fast_path: The fast path that needs it; None if Portico does not work without it.

        Raises:
            UnsupportedVersion: The block raised ImportError or AttributeError.
        """
        try:
            yield
        except (ImportError, AttributeError) as error:
            try:
                installed = version(self.name)
            except PackageNotFoundError:
                raise error from None
            advice = f"Install {self.name} {self.versions}"
            if fast_path is not None:
                advice += f", or set {VARIABLE} to a list without {fast_path} ({_NONE} switches all fast paths off)"
            raise UnsupportedVersion(
                f"Portico uses private names of {self.name} {self.versions} that the installed version {installed} lacks: "
                f"{error}. {advice}."
            ) from error


def require(owner: type[Any], *names: str) -> None:
    """Raise AttributeError unless a class has these attributes, or its `__init__` assigns them."""
    assigned = owner.__init__.__code__.co_names if inspect.isfunction(owner.__init__) else ()
    for name in names:
        if not hasattr(owner, name) and name not in assigned:
            raise AttributeError(f"{owner.__module__}.{owner.__qualname__} has no attribute '{name}'")


def require_parameters(function: Callable[..., Any], *names: str) -> None:
    """Raise AttributeError unless a function has these parameters."""
    parameters = inspect.signature(function).parameters
    for name in names:
        if name not in parameters:
            raise AttributeError(f"{function.__module__}.{function.__qualname__} has no parameter '{name}'")


def parse_fast_paths(text: str) -> tuple[str, ...]:
    """Parse names of fast paths with commas between them; `none` is none of them.

    Raises:
        ValueError: A name is unknown.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if names == (_NONE,):
        return ()
    if unknown := [name for name in names if name not in FAST_PATHS]:
        raise ValueError(f"unknown: {', '.join(unknown)}. Write {_NONE}, or some of {', '.join(FAST_PATHS)}")
    return names


def is_enabled(fast_path: str) -> bool:
    """Return whether this process uses a fast path."""
    return fast_path in _ENABLED


def _enabled(text: str) -> frozenset[str]:
    if not text.strip():
        return frozenset(FAST_PATHS)
    try:
        return frozenset(parse_fast_paths(text))
    except ValueError:
        return frozenset()  # the process does not start: its settings are rejected


_ENABLED: Final = _enabled(os.environ.get(VARIABLE, ""))
