"""Formats of log lines: JSON for machines, text for people."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

MAX_LINE_LENGTH = 32_768  # bytes
_CORE = ("timestamp", "level", "service", "logger", "event", "request_id", "trace_id")
_COLOURS = {"debug": "2", "info": "36", "warning": "33", "error": "31", "critical": "41"}
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS

Render = Callable[[Mapping[str, Any]], bytes]


class Timestamps:
    """Timestamps in RFC 3339, UTC, with milliseconds. The text of a second is cached."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._second = -1
        self._prefix = ""

    def __call__(self) -> str:
        now = self._now()
        second = int(now)
        if second != self._second:
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._second = second
        return f"{self._prefix}{int((now - second) * 1000):03d}Z"


def json_line(event: Mapping[str, Any]) -> bytes:
    """Return `event` as a line of JSON of at most MAX_LINE_LENGTH bytes. A longer one is reduced to its core fields."""
    line = _dump(event)
    if len(line) <= MAX_LINE_LENGTH:
        return line
    return _dump({key: event[key] for key in _CORE if key in event} | {"truncated": True})


def _dump(event: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(event, default=str, option=_OPTIONS)
    except orjson.JSONEncodeError:
        # A lone surrogate or an integer beyond 64 bits is not portable JSON.
        return orjson.dumps({_ascii(key): _ascii(value) for key, value in event.items()}, option=_OPTIONS)


def _ascii(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def text_line(event: Mapping[str, Any], *, coloured: bool = False) -> bytes:
    """Return `event` as a line for people. Control characters are escaped, so that values cannot forge lines."""
    rest = dict(event)
    stamp, level = str(rest.pop("timestamp", ""))[11:23], str(rest.pop("level", "info"))
    service, name = str(rest.pop("service", "")), str(rest.pop("event", ""))
    traceback = str(rest.pop("exception", ""))
    if name == "request":
        milliseconds = rest.pop("duration_ms", "")
        name = f"{rest.pop('method', '')} {rest.pop('path', '')} {rest.pop('status', '')} {milliseconds} ms"
        rest.pop("route", None)
    details = " ".join(f"{key}={value}" for key, value in rest.items() if value is not None)
    level_column, details = f"{level:<8}", _printable(details)
    if coloured:
        stamp, details = f"\x1b[2m{stamp}\x1b[0m", f"\x1b[2m{details}\x1b[0m"
        level_column = f"\x1b[{_COLOURS.get(level, '0')}m{level_column}\x1b[0m"
    head = f"{stamp} {level_column} {_printable(service):<10} "
    body = f"{_printable(name)}  {details}".rstrip() + "\n"
    trace = "".join(f"    {_printable(line)}\n" for line in traceback.splitlines())
    return (head + body + trace).encode("utf-8", "backslashreplace")


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
