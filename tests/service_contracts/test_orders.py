from decimal import Decimal

import orjson

from portico.contracts.catalog import ProductId
from portico.contracts.orders import OrderCreated, OrderedItem, OrderId, OrdersClient
from portico.kit.auth.principal import UserId
from portico.kit.calls.client import Calls
from portico.testing.channels import ScriptedChannel, canned_response


class TestOrderEvents:
    def test_money_is_a_number_in_json_and_exact_in_code(self) -> None:
        item = OrderedItem(
            product_id=ProductId.new(), name="Lamp", quantity=3, price=Decimal("0.1"), subtotal=Decimal("0.3")
        )
        event = OrderCreated(
            order_id=OrderId.new(),
            user_id=UserId.new(),
            status="pending",
            total=Decimal("0.3"),
            currency="USD",
            items=(item,),
        )

        document = orjson.loads(event.model_dump_json())

        assert (document["total"], document["items"][0]["price"]) == (0.3, 0.1)
        assert OrderCreated.model_validate(document).model_dump() == event.model_dump()


class TestOrdersClient:
    async def test_reads_a_page_of_totals(self) -> None:
        order_id = OrderId.new()
        found = {
            "order_id": order_id,
            "user_id": UserId.new(),
            "status": "confirmed",
            "total": 12.5,
            "currency": "EUR",
            "more": 1,
        }
        channel = ScriptedChannel(canned_response(body=orjson.dumps([found])))

        (total,) = await Calls(channel)(OrdersClient).totals(status=["confirmed", "paid"], after=order_id, limit=5)

        assert (total.order_id, total.total, total.status) == (order_id, Decimal("12.5"), "confirmed")
        assert channel.sent[0].path == "/orders/totals"
        assert channel.sent[0].query == b"status=confirmed&status=paid&after=%b&limit=5" % order_id.encode()
