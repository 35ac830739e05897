from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from portico.kit.foundation.money import EXPONENTS, MAX_MINOR_UNITS, Amount, Money, TooPrecise, UnknownCurrency

amounts: TypeAdapter[Decimal] = TypeAdapter(Amount)
currencies = st.sampled_from(sorted(EXPONENTS))


class TestMoney:
    @given(st.integers(0, MAX_MINOR_UNITS), currencies)
    def test_minor_units_round_trip(self, minor: int, currency: str) -> None:
        money = Money(minor, currency)

        assert Money.of(money.amount, currency) == money

    @given(st.integers(0, 10**10), currencies)
    def test_json_numbers_round_trip(self, minor: int, currency: str) -> None:
        money = Money(minor, currency)
        sent = amounts.dump_json(money.amount)

        assert Money.of(amounts.validate_json(sent), currency) == money

    @pytest.mark.parametrize(
        ("amount", "currency", "minor"), [("9.99", "USD", 999), ("1500", "JPY", 1500), ("1.005", "KWD", 1005)]
    )
    def test_amounts_are_converted_to_minor_units(self, amount: str, currency: str, minor: int) -> None:
        assert Money.of(Decimal(amount), currency).minor == minor

    @pytest.mark.parametrize(
        ("amount", "currency", "decimals"), [("9.999", "USD", 2), ("0.5", "JPY", 0), ("1.0005", "KWD", 3)]
    )
    def test_fractions_of_minor_units_are_rejected(self, amount: str, currency: str, decimals: int) -> None:
        with pytest.raises(TooPrecise) as refused:
            Money.of(Decimal(amount), currency)

        assert refused.value.decimals == decimals

    @pytest.mark.parametrize("currency", ["usd", "XXX", "", "EURO", "DEM"])
    def test_unknown_currencies_are_rejected(self, currency: str) -> None:
        with pytest.raises(UnknownCurrency):
            Money.of(Decimal(1), currency)


class TestAmount:
    @pytest.mark.parametrize(
        ("sent", "amount"), [("0", "0"), ("19.99", "19.99"), ("0.1", "0.1"), ("1e2", "100"), ("5", "5")]
    )
    def test_has_the_decimal_that_was_written(self, sent: str, amount: str) -> None:
        assert amounts.validate_json(sent) == Decimal(amount)

    @pytest.mark.parametrize(
        "sent", ["-1", "-0.01", '"5"', "true", "null", "[]", "1e300", "0.00001", "NaN", "10000000001"]
    )
    def test_rejects_invalid_json(self, sent: str) -> None:
        with pytest.raises(ValidationError):
            amounts.validate_json(sent)

    @pytest.mark.parametrize("sent", [float("nan"), float("inf"), "5", True])
    def test_rejects_invalid_values(self, sent: Any) -> None:
        with pytest.raises(ValidationError):
            amounts.validate_python(sent)
