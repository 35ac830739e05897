import io
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from tests.kit.telemetry.restoring import logs_restored

from portico.kit.telemetry import Logs, RequestContext, RequestLog, get_logger, request_context
from portico.kit.telemetry.sink import Sink
from portico.kit.telemetry.trace_context import TraceContext


class Written:
    """Logs in memory, parsed from their JSON lines."""

    def __init__(self) -> None:
        self.stream = io.BytesIO()
        self.logs = Logs.configure(level="info", style="json", stream=self.stream)

    def lines(self) -> list[dict[str, Any]]:
        self.logs.close()
        return [orjson.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def written() -> Iterator[Written]:
    with logs_restored():
        yield (kept := Written())
        kept.logs.close()


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


class TestColours:
    @pytest.mark.parametrize(
        ("stream", "variables", "coloured"),
        [(Terminal(), {}, True), (Terminal(), {"NO_COLOR": "1"}, False), (io.BytesIO(), {}, False)],
        ids=["terminal", "NO_COLOR", "file"],
    )
    def test_only_a_terminal_gets_them(
        self, stream: io.BytesIO, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, coloured: bool
    ) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with logs_restored():
            logs = Logs.configure(style="text", stream=stream)
            get_logger("shop").warning("book_lost", book_id="book_1")
            logs.close()

        line = stream.getvalue()
        assert b"warning" in line
        assert b"book_id=book_1" in line
        assert (b"\x1b[" in line) == coloured


class TestEvents:
    def test_an_event_is_a_line(self, written: Written) -> None:
        get_logger("shop").info("book_lent", book_id="book_1", days=14)

        (line,) = written.lines()
        assert line.pop("timestamp").endswith("Z")
        assert line == {"level": "info", "event": "book_lent", "logger": "shop", "book_id": "book_1", "days": 14}

    def test_a_logger_made_before_logs_were_configured_writes_to_them(self) -> None:
        log, stream = get_logger("early"), io.BytesIO()
        with logs_restored():
            logs = Logs.configure(style="json", stream=stream)
            log.warning("late")
            logs.close()

        assert b'"event":"late"' in stream.getvalue()

    def test_it_contains_the_request_context(self, written: Written) -> None:
        token = request_context.set(
            RequestContext("catalog", "r-1", TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"))
        )
        get_logger("shop").info("book_lent")
        request_context.reset(token)

        (line,) = written.lines()
        assert (line["service"], line["request_id"]) == ("catalog", "r-1")
        assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"

    def test_events_below_the_level_are_not_written(self, written: Written) -> None:
        get_logger("shop").debug("noise")

        assert written.lines() == []

    def test_secrets_are_masked(self, written: Written) -> None:
        get_logger("shop").info(
            "signed_in", password="hunter2", url="redis://:hunter2@cache", headers={"cookie": "hunter2"}
        )

        (line,) = written.lines()
        assert "hunter2" not in str(line)
        assert line["url"] == "redis://:***@cache"

    def test_an_exception_comes_with_its_traceback_and_without_passwords(self, written: Written) -> None:
        def fail() -> None:
            raise ConnectionError("no answer from postgresql://me:hunter2@db")

        try:
            fail()
        except ConnectionError:
            get_logger("shop").exception("failed")

        (line,) = written.lines()
        assert line["level"] == "error"
        assert "in fail" in line["exception"]
        assert "ConnectionError: no answer from postgresql://me:***@db" in line["exception"]
        assert "raise ConnectionError" in line["exception"]


class TestStandardLogging:
    def test_records_of_libraries_become_the_same_lines(self, written: Written) -> None:
        logging.getLogger("some.library").warning("%s of %s", 1, 2)

        (line,) = written.lines()
        assert (line["level"], line["logger"], line["event"]) == ("warning", "some.library", "1 of 2")

    def test_verbose_libraries_are_quiet(self, written: Written) -> None:
        logging.getLogger("uvicorn.error").info("Started server process")
        logging.getLogger("uvicorn.access").error("GET /")
        logging.getLogger("sqlalchemy.engine.Engine").info("SELECT 1")
        logging.getLogger("portico.kit.data.pool.FairPool").info("Pool disposed")
        logging.getLogger("uvicorn.error").error("broken")

        assert [line["event"] for line in written.lines()] == ["broken"]

    def test_their_exceptions_are_logged(self, written: Written) -> None:
        logging.getLogger("some.library").error("failed", exc_info=ValueError("odd"))

        assert "ValueError: odd" in written.lines()[0]["exception"]

    def test_warnings_are_logged(self, written: Written) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(capture=True)
            warnings.warn("old spelling", UserWarning, stacklevel=1)

        assert "old spelling" in written.lines()[0]["event"]

    def test_configuring_again_redirects_everything(self, written: Written) -> None:
        again = Written()
        logging.getLogger("some.library").warning("once")

        assert len(again.lines()) == 1
        assert written.lines() == []


class TestRequestLog:
    def request(self, written: Written, **changes: Any) -> None:
        seen: dict[str, Any] = {"method": "GET", "path": "/products/prod_1", "route": "/products/{product_id}"}
        seen |= {"status": 200, "seconds": 0.00312, "request_id": "r-1"}
        RequestLog(written.logs, "catalog")(**seen | changes)

    def test_a_request_is_a_line(self, written: Written) -> None:
        self.request(written, client="192.0.2.7", subject="user_1", trace_id="0af7")

        (line,) = written.lines()
        assert line.pop("timestamp")
        assert line == {
            "level": "info",
            "service": "catalog",
            "event": "request",
            "method": "GET",
            "path": "/products/prod_1",
            "route": "/products/{product_id}",
            "status": 200,
            "duration_ms": 3.12,
            "request_id": "r-1",
            "trace_id": "0af7",
            "client": "192.0.2.7",
            "subject": "user_1",
        }

    def test_a_server_error_has_level_error(self, written: Written) -> None:
        self.request(written, status=500)
        self.request(written, status=404)

        assert [line["level"] for line in written.lines()] == ["error", "info"]

    def test_a_long_or_invalid_path_is_logged(self, written: Written) -> None:
        self.request(written, path="/" + "a" * 100_000)
        self.request(written, path="/\ud800\n")

        long, strange = written.lines()
        assert len(long["path"]) < 600
        assert strange["path"].startswith("/\\ud800")

    def test_at_level_error_only_server_errors_are_logged(self) -> None:
        stream = io.BytesIO()
        logs = Logs(level="error", style="json", stream=stream)
        log = RequestLog(logs, "catalog")
        for status in (200, 503):
            log(method="GET", path="/", route="/", status=status, seconds=0, request_id="r")
        logs.close()

        assert [orjson.loads(line)["status"] for line in stream.getvalue().splitlines()] == [503]


class Blocked(io.BytesIO):
    """A pipe whose reader is blocked."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.free = threading.Event(), threading.Event()

    def write(self, lines: Any) -> int:
        self.reached.set()
        self.free.wait(5)
        return super().write(lines)


class TestSink:
    def test_lines_keep_their_order(self) -> None:
        stream = io.BytesIO()
        sink = Sink(stream)
        for number in range(5000):
            sink.write(b"%d\n" % number)
        sink.close()

        assert stream.getvalue().split() == [b"%d" % number for number in range(5000)]

    def test_a_full_queue_drops_and_counts_lines(self) -> None:
        stream = Blocked()
        sink = Sink(stream, limit=10)
        sink.write(b"first\n")
        assert stream.reached.wait(5)
        for _ in range(25):
            sink.write(b"more\n")
        stream.free.set()
        sink.close()

        assert sink.dropped == 15
        assert stream.getvalue() == b"first\n" + b"more\n" * 10

    def test_a_closed_stream_is_ignored(self) -> None:
        stream = io.BytesIO()
        sink = Sink(stream)
        stream.close()
        sink.write(b"lost\n")
        sink.close()

        assert not sink._thread.is_alive()
