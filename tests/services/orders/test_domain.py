from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.contracts.catalog import ProductId, ProductSummary
from portico.contracts.orders import OrderId, OrderStatus
from portico.kit.auth.principal import UserId
from portico.kit.foundation.money import Money
from portico.services.orders.domain import LEGAL, UNSETTLED, RequestedItem, is_final, price_items
from portico.services.orders.errors import IllegalTransition, PriceChanged
from portico.services.orders.models import Order, reservation_id_of

NOW = datetime(2026, 1, 5, tzinfo=UTC)
TARGET_STATUSES: dict[str, OrderStatus] = {
    "ship": "shipped",
    "deliver": "delivered",
    "mark_returned": "returned",
    "cancel": "cancelled",
    "fail": "failed",
}


def order(status: OrderStatus = "pending") -> Order:
    return Order(user_id=UserId.new(), status=status, currency="USD", total_minor=100, lines=[])


def act(order: Order, action: str) -> None:
    if action == "fail":
        order.fail("payment_declined", "no money", now=NOW)
    else:
        getattr(order, action)(now=NOW)


class TestTransitions:
    @given(st.sampled_from(sorted(LEGAL)), st.lists(st.sampled_from(sorted(TARGET_STATUSES)), max_size=12))
    def test_follow_the_table_and_errors_list_the_legal_ones(self, start: OrderStatus, actions: list[str]) -> None:
        one = order(start)
        for action in actions:
            before, wanted = one.order_status, TARGET_STATUSES[action]
            if wanted in LEGAL[before]:
                act(one, action)
                assert one.status == wanted
            else:
                with pytest.raises(IllegalTransition) as refused:
                    act(one, action)
                assert (refused.value.current, refused.value.wanted) == (before, wanted)
                assert list(refused.value.legal) == list(LEGAL[before])
                assert one.status == before

    @given(st.sampled_from(sorted(LEGAL)))
    def test_final_statuses_have_no_successor(self, status: OrderStatus) -> None:
        assert is_final(status) == (status in {"returned", "cancelled", "failed"})
        assert ("cancelled" in LEGAL[status]) == (status in UNSETTLED | {"confirmed"})

    def test_the_reservation_id_is_derived_from_the_order_id(self) -> None:
        order_id = OrderId.new()

        assert reservation_id_of(order_id) == reservation_id_of(order_id)
        assert type(reservation_id_of(order_id)).parse(reservation_id_of(order_id))


prices = st.integers(0, 10**9).map(lambda minor: Decimal(minor).scaleb(-2))


class TestPricing:
    @given(st.lists(st.tuples(prices, st.integers(1, 10_000)), min_size=1, max_size=20))
    def test_the_total_is_exact(self, lines: list[tuple[Decimal, int]]) -> None:
        products = [product(price) for price, _ in lines]
        wanted = [RequestedItem(each.product_id, quantity) for each, (_, quantity) in zip(products, lines, strict=True)]
        total = sum((price * quantity for price, quantity in lines), Decimal(0))
        if total > 10**10:
            return

        basket = price_items(wanted, {each.product_id: each for each in products})

        assert basket.total == Money.of(total, "USD")
        assert [line.quantity for line in basket.lines] == [quantity for _, quantity in lines]

    @given(prices, prices)
    def test_rejects_an_outdated_price(self, seen: Decimal, current: Decimal) -> None:
        lamp = product(current)
        wanted = [RequestedItem(lamp.product_id, 1, seen)]
        if seen == current:
            assert price_items(wanted, {lamp.product_id: lamp}).total.amount == current
        else:
            with pytest.raises(PriceChanged):
                price_items(wanted, {lamp.product_id: lamp})


def product(price: Decimal) -> ProductSummary:
    return ProductSummary(
        product_id=ProductId.new(), sku="L", name="A lamp", price=price, currency="USD", category="", stock_quantity=1
    )
