"""Logs: one JSON object a line, from structlog and from every library that uses the standard one."""

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any, BinaryIO, Literal, Self

import structlog

from portico.kit.telemetry.context import request_context
from portico.kit.telemetry.lines import Render, Timestamps, json_line, text_line
from portico.kit.telemetry.redaction import redact
from portico.kit.telemetry.sink import Sink

Level = Literal["debug", "info", "warning", "error", "critical"]
_LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error", "critical")}

_SERVER_ERROR = 500  # RFC 9110, 15.6: the server's own failures begin here
_LONGEST_PATH = 500  # characters

# These tell at INFO what nobody asked for; the engine tells each statement with its parameters, so it never may.
_TALKATIVE = ("uvicorn", "uvicorn.error", "aiohttp", "asyncio", "alembic", "opentelemetry", "redis", "asyncmy")
_TELLTALE = ("sqlalchemy", "aiosqlite", "asyncpg", "aiosqlite.core")
# These tell each try to reach a server that is away; the brokers tell it once, in a line of their own.
_INSISTENT = ("aiokafka", "aiormq", "nats")


class Logs:
    """Where this process's log lines go, and which are written.

    Args:
        level: the least that is written.
        style: `json`, `text`, or None for text on a terminal and JSON elsewhere.
        stream: open for bytes; standard output if None.
    """

    def __init__(
        self, *, level: Level = "info", style: Literal["json", "text"] | None = None, stream: BinaryIO | None = None
    ) -> None:
        out = stream if stream is not None else sys.stdout.buffer
        as_text = style == "text" or (style is None and out.isatty())
        self.level: int = _LEVELS[level]
        self.sink = Sink(out)
        self.render: Render = text_line if as_text else json_line
        self.timestamp = Timestamps()

    @classmethod
    def configure(
        cls, *, level: Level = "info", style: Literal["json", "text"] | None = None, stream: BinaryIO | None = None
    ) -> Self:
        """Send all of this process's logs, structlog's and the standard library's, to one place.

        Returns:
            what `close` is called on at the end; a second call redirects everything to its own.
        """
        logs = cls(level=level, style=style, stream=stream)
        structlog.configure(
            processors=[logs._structured],
            wrapper_class=structlog.make_filtering_bound_logger(logs.level),
            logger_factory=lambda *names: _SinkLogger(logs.sink, *names),
            cache_logger_on_first_use=False,
        )
        _route_standard_logging(logs)
        return logs

    def close(self) -> None:
        """Write what is queued and stop."""
        self.sink.close()

    def emit(self, level: str, event: str, fields: Mapping[str, Any]) -> bytes:
        """The line of an event: with what is known of the request, and without what must not be told."""
        context = request_context.get()
        line: dict[str, Any] = {"timestamp": self.timestamp(), "level": level}
        if context is not None:
            line |= {"service": context.service, "request_id": context.request_id, "trace_id": context.trace_id}
        line["event"] = redact("event", event)
        for key, value in fields.items():
            line[key] = redact(key, value)
        return self.render({key: value for key, value in line.items() if value is not None})

    def _structured(self, logger: Any, method: str, fields: MutableMapping[str, Any]) -> bytes:
        if (exc_info := fields.pop("exc_info", None)) and (error := _raised(exc_info)) is not None:
            fields["exception"] = _traceback(error)
        event = str(fields.pop("event", ""))
        level = "error" if method == "exception" else method
        return self.emit(level, event, {"logger": logger.name, **fields})


class _SinkLogger:
    """What structlog hands finished lines to."""

    def __init__(self, sink: Sink, name: str | None = None) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = self.exception = self.msg = sink.write
        self.warn = self.fatal = self.log = sink.write


class _StandardHandler(logging.Handler):
    """Turns records of the standard library into the same lines."""

    def __init__(self, logs: Logs) -> None:
        super().__init__(logs.level)
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, Any] = {"logger": record.name}
            if record.exc_info and record.exc_info[1] is not None:
                fields["exception"] = _traceback(record.exc_info[1])
            self._logs.sink.write(self._logs.emit(record.levelname.lower(), record.getMessage(), fields))
        except Exception:  # noqa: BLE001 a logging call must not raise into what it tells of; handleError says so
            self.handleError(record)


def _route_standard_logging(logs: Logs) -> None:
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _StandardHandler)]:
        root.removeHandler(handler)
    root.addHandler(_StandardHandler(logs))
    root.setLevel(logs.level)
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(max(logs.level, logging.INFO if logs.level <= logging.DEBUG else logging.WARNING))
    for name in _TELLTALE:
        logging.getLogger(name).setLevel(max(logs.level, logging.WARNING))
    for name in _INSISTENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    access = logging.getLogger("uvicorn.access")  # the frame's own request line says more
    access.handlers.clear()
    access.propagate = False
    logging.captureWarnings(capture=True)


def _raised(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if isinstance(exc_info[1], BaseException) else None
    return sys.exc_info()[1]


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error, limit=-20))


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger of events: `log.warning("cache_unreachable", host=…)`. Bound to its destination only when first used."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
    return logger


class RequestLog:
    """The line that each request leaves behind. Written at every request, it goes past structlog (8 µs less).

    Args:
        logs: where to.
        service: whose requests.
    """

    def __init__(self, logs: Logs, service: str) -> None:
        self._write = logs.sink.write
        self._render = logs.render
        self._timestamp = logs.timestamp
        self._level = logs.level
        self._service = service

    def __call__(
        self,
        *,
        method: str,
        path: str,
        route: str | None,
        status: int,
        seconds: float,
        request_id: str,
        trace_id: str | None = None,
        client: str | None = None,
        subject: str | None = None,
    ) -> None:
        """Write the line of one request: `path` without its query, which may hold secrets."""
        failed = status >= _SERVER_ERROR
        if self._level > (logging.ERROR if failed else logging.INFO):
            return
        line = {
            "timestamp": self._timestamp(),
            "level": "error" if failed else "info",
            "service": self._service,
            "event": "request",
            "method": method,
            "path": path if len(path) <= _LONGEST_PATH else path[:_LONGEST_PATH] + "…",
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 2),
            "request_id": request_id,
        }
        if trace_id is not None:
            line["trace_id"] = trace_id
        if client is not None:
            line["client"] = client
        if subject is not None:
            line["subject"] = subject
        self._write(self._render(line))
