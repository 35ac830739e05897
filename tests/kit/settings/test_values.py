import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.kit.settings import Rate, parse_duration, parse_size


class TestParseDuration:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("30", 30), ("30s", 30), ("500ms", 0.5), ("1.5m", 90), ("24h", 86_400), ("7d", 604_800), (" 2 H ", 7200)],
    )
    def test_a_number_may_have_a_unit(self, text: str, seconds: float) -> None:
        assert parse_duration(text) == seconds

    @pytest.mark.parametrize("text", ["", "s", "-1", "1y", "1h30m", "1e9", "nan", "inf", "9" * 400])
    def test_other_text_is_not_a_duration(self, text: str) -> None:
        with pytest.raises(ValueError, match="duration"):
            parse_duration(text)

    @given(st.integers(0, 10**9), st.sampled_from([("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)]))
    def test_a_unit_multiplies(self, number: int, unit: tuple[str, int]) -> None:
        assert parse_duration(f"{number}{unit[0]}") == number * unit[1]


class TestParseSize:
    @pytest.mark.parametrize(
        ("text", "size"),
        [("65536", 65_536), ("64KiB", 65_536), ("64k", 65_536), ("1MB", 1_000_000), ("0.5GiB", 1 << 29)],
    )
    def test_a_number_may_have_a_unit(self, text: str, size: int) -> None:
        assert parse_size(text) == size

    @pytest.mark.parametrize("text", ["", "MiB", "-1", "1TiB", "lots"])
    def test_other_text_is_not_a_size(self, text: str) -> None:
        with pytest.raises(ValueError, match="size"):
            parse_size(text)


class TestRate:
    @pytest.mark.parametrize(
        ("text", "rate"),
        [
            ("100/minute", Rate(100, 60)),
            ("5 per second", Rate(5, 1)),
            ("1000/hours", Rate(1000, 3600)),
            ("20/10s", Rate(20, 10)),
            ("3/day", Rate(3, 86_400)),
        ],
    )
    def test_a_rate_is_a_number_per_window(self, text: str, rate: Rate) -> None:
        assert Rate.parse(text) == rate

    @pytest.mark.parametrize("text", ["", "100", "0/minute", "5/0s", "-1/minute", "5/fortnight", "1/2/3"])
    def test_other_text_is_not_a_rate(self, text: str) -> None:
        with pytest.raises(ValueError, match="rate"):
            Rate.parse(text)

    @given(st.integers(1, 10**9 - 1), st.sampled_from([1, 60, 3600, 86_400]) | st.integers(1, 10**6 - 1))
    def test_parses_its_own_text(self, limit: int, window: int) -> None:
        assert Rate.parse(str(Rate(limit, window))) == Rate(limit, window)
