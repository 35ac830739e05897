from datetime import UTC, datetime, timedelta

import pytest

from portico.cli.times import format_age, format_time, printable, read_time
from portico.kit.foundation.errors import CommandError


class TestReadTime:
    def test_a_time(self) -> None:
        assert read_time("2026-01-31T12:00:00+02:00", "--since") == datetime(2026, 1, 31, 10, tzinfo=UTC)
        assert read_time("2026-01-31T12:00:00Z", "--since") == datetime(2026, 1, 31, 12, tzinfo=UTC)
        assert read_time(None, "--since") is None

    def test_an_age(self) -> None:
        moment = read_time("90m", "--since")

        assert moment is not None
        assert abs(datetime.now(UTC) - timedelta(minutes=90) - moment) < timedelta(minutes=1)

    @pytest.mark.parametrize("text", ["", "yesterday", "2026-01-31T12:00:00", "9" * 30 + "d", "-1h"])
    def test_an_invalid_time_is_rejected(self, text: str) -> None:
        with pytest.raises(CommandError, match="--until"):
            read_time(text, "--until")


class TestFormatting:
    def test_a_time_is_formatted_to_the_second(self) -> None:
        assert format_time(datetime(2026, 1, 31, 12, 0, 0, 999, tzinfo=UTC)) == "2026-01-31 12:00:00Z"

    @pytest.mark.parametrize(
        ("ago", "expected"),
        [
            (timedelta(seconds=-5), "0s"),
            (timedelta(seconds=119.5), "119s"),
            (timedelta(minutes=5, seconds=1), "5m"),
            (timedelta(hours=47.5), "47h"),
            (timedelta(days=9, seconds=1), "9d"),
        ],
    )
    def test_an_age_has_one_unit(self, ago: timedelta, expected: str) -> None:
        assert format_age(datetime.now(UTC) - ago) == expected

    def test_control_characters_are_escaped(self) -> None:
        assert printable("a\x1b[2J\r\nb\x9bä") == "a\\x1b[2J\\x0d\nb\\x9bä"
