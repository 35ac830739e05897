import orjson
from hypothesis import given
from hypothesis import strategies as st

from portico.kit.telemetry.line_formats import MAX_LINE_LENGTH, Timestamps, json_line, text_line

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(categories=None)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(categories=None)), inner, max_size=3)
    ),
    max_leaves=6,
)


class TestTimestamps:
    def test_they_are_utc_with_milliseconds(self) -> None:
        times = iter([1_700_000_000.0, 1_700_000_000.0429, 1_700_000_001.5])
        stamp = Timestamps(lambda: next(times))

        assert [stamp(), stamp(), stamp()] == [
            "2023-11-14T22:13:20.000Z",
            "2023-11-14T22:13:20.042Z",
            "2023-11-14T22:13:21.500Z",
        ]


class TestJsonLine:
    def test_a_line_is_one_object(self) -> None:
        assert json_line({"event": "a\nb", "n": 1}) == b'{"event":"a\\nb","n":1}\n'

    @given(st.dictionaries(st.text(st.characters(categories=None)), anything, max_size=5))
    def test_any_event_is_one_line_of_json(self, event: dict[str, object]) -> None:
        line = json_line(event)

        assert line.count(b"\n") == 1
        assert isinstance(orjson.loads(line), dict)

    def test_a_long_line_is_reduced_to_its_core_fields(self) -> None:
        line = json_line({"event": "import", "request_id": "r-1", "rows": ["x" * 100] * 1000})

        assert orjson.loads(line) == {"event": "import", "request_id": "r-1", "truncated": True}
        assert len(line) <= MAX_LINE_LENGTH


class TestTextLine:
    def test_a_request_is_formatted_for_people(self) -> None:
        line = text_line(
            {
                "timestamp": "2023-11-14T22:13:20.042Z",
                "level": "info",
                "service": "catalog",
                "event": "request",
                "method": "GET",
                "path": "/products",
                "status": 200,
                "duration_ms": 3.1,
                "request_id": "r-1",
            }
        ).decode()

        assert "22:13:20.042" in line
        assert "catalog" in line
        assert "GET /products 200 3.1 ms" in line
        assert "request_id=r-1" in line

    def test_values_cannot_forge_lines(self) -> None:
        line = text_line({"event": "request", "path": "/a\n22:13:20 info all is well\x1b[31m", "agent": "b\r\nc"})

        assert line.count(b"\n") == 1
        assert b"\x1b[31m" not in line

    def test_a_traceback_follows_the_line(self) -> None:
        assert text_line({"event": "failed", "exception": "one\ntwo"}).endswith(b"    one\n    two\n")
