from dataclasses import replace
from typing import Any

import pytest

from portico.demo.invariants import ShopRecords, Stock

LAMP = "prod_lamp"


def order(order_id: str, status: str, total: float = 20.0, quantity: int = 2) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "status": status,
        "total": total,
        "failure_reason": None,
        "items": [{"product_id": LAMP, "quantity": quantity}],
    }


def payment(order_id: str, amount: float = 20.0, refunded: float = 0.0, status: str = "succeeded") -> dict[str, Any]:
    return {"order_id": order_id, "amount": amount, "refunded": refunded, "status": status}


def mail(order_id: str, template: str, status: str = "sent") -> dict[str, Any]:
    return {"order_id": order_id, "template": template, "status": status}


def entry(kind: str, quantity: int) -> dict[str, Any]:
    return {"kind": kind, "quantity": quantity}


def stock(on_hand: int, reserved: int, *entries: dict[str, Any], loaded: int = 10) -> Stock:
    return Stock(LAMP, loaded, {"on_hand": on_hand, "reserved": reserved}, entries)


LEDGER = (entry("receipt", 10), entry("reservation", 2), entry("reservation", 2), entry("shipment", -2))


@pytest.fixture
def records() -> ShopRecords:
    """Ten lamps: two are shipped, two are reserved; one order of two was cancelled and refunded."""
    return ShopRecords(
        placed=["one", "two", "three"],
        orders=[order("one", "shipped"), order("two", "confirmed"), order("three", "cancelled")],
        stock=[stock(8, 2, *LEDGER)],
        payments=[payment("one"), payment("two"), payment("three", refunded=20.0)],
        mails=[
            mail("one", "order-confirmed"),
            mail("one", "order-shipped"),
            mail("two", "order-confirmed"),
            mail("three", "order-cancelled"),
        ],
        reconciled=[{"mismatches": [], "skipped": []}],
        dead_letters=[],
    )


class TestShopRecords:
    def test_that_agree_have_no_mismatches(self, records: ShopRecords) -> None:
        assert records.mismatches() == []
        assert records.sold_total() == sum(records.kept().values()) == 40.0

    @pytest.mark.parametrize(
        ("others", "message"),
        [
            ({"placed": ["one", "two", "three", "four"]}, "order four was placed and is missing"),
            ({"placed": ["one", "two"]}, "order three was created, and not acknowledged to a customer"),
            ({"stock": [stock(8, 2, *LEDGER[:3])]}, "its ledger 10/4"),
            ({"stock": [stock(6, 2, *LEDGER, entry("adjustment", -2))]}, "6 of 10 on hand, and 2 were shipped"),
            ({"stock": [stock(8, 4, *LEDGER, entry("reservation", 2))]}, "4 reserved, and confirmed orders need 2"),
            ({"stock": [stock(1, 2, *LEDGER)]}, "2 reserved of 1"),
            ({"payments": [payment("one"), payment("two"), payment("three")]}, "20.0 is kept, 0 is due"),
            ({"payments": [payment("one"), payment("two", status="failed")]}, "0.0 is kept, 20.0 is due"),
            ({"payments": [payment("one"), payment("two", 10), payment("two", 10)]}, "order two was charged 2 times"),
            (
                {"reconciled": [{"mismatches": [{"kind": "order_differs", "detail": "it does"}], "skipped": []}]},
                "order_differs: it does",
            ),
            ({"reconciled": [{"mismatches": [], "skipped": ["orders"]}]}, "could not be compared with orders"),
            ({"mails": []}, "order three is cancelled, and has no mail order-cancelled"),
            ({"dead_letters": [{"letter": "orders/1"}]}, "orders/1"),
        ],
    )
    def test_that_disagree_name_the_mismatch(self, records: ShopRecords, others: dict[str, Any], message: str) -> None:
        assert message in "\n".join(replace(records, **others).mismatches())

    def test_an_unsettled_order_is_a_mismatch(self, records: ShopRecords) -> None:
        [*others, _] = records.orders

        assert "order three is still paid" in replace(records, orders=[*others, order("three", "paid")]).mismatches()

    def test_duplicate_and_unsent_mails_are_mismatches(self, records: ShopRecords) -> None:
        more = [*records.mails, mail("two", "order-confirmed", status="failed")]

        assert replace(records, mails=more).mail_mismatches() == [
            "order two has the mail order-confirmed 2 times",
            "the mail order-confirmed about two is failed",
        ]
