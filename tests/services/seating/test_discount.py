import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.services.seating.codes.domain import Discount


class TestDiscount:
    @pytest.mark.parametrize(
        ("percent", "amount", "price", "discount"),
        [(10, 0, 1000, 100), (50, 0, 125, 63), (33, 0, 100, 33), (15, 0, 10, 2), (100, 0, 999, 999), (0, 500, 2000, 500),
         (0, 500, 499, 499), (0, 500, 0, 0), (50, 100, 150, 150), (0, 0, 700, 0)],
    )  # fmt: skip
    def test_by_hand(self, percent: int, amount: int, price: int, discount: int) -> None:
        assert Discount(percent_off=percent, amount_off=amount).of(price) == discount

    @given(st.integers(0, 100), st.integers(0, 10**9), st.integers(0, 10**9))
    def test_is_at_most_the_price(self, percent: int, amount: int, price: int) -> None:
        assert 0 <= Discount(percent, amount).of(price) <= price
