"""Every order settles, and its stock and payment match, whatever calls fail and whatever an operator does."""

from collections import deque

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.services.orders.shop import Failure, Orders

CALLS = ("reserve", "charge", "confirm", "void", "release", "ship", "return")
FAILURES: st.SearchStrategy[dict[str, list[Failure]]] = st.fixed_dictionaries(
    {call: st.lists(st.sampled_from(["unavailable", "lost_before", "lost_after"]), max_size=14) for call in CALLS}
)
ACTIONS = st.lists(
    st.sampled_from(["cancel", "ship", "deliver", "return", "saga/retry", "saga/skip", "wait"]), max_size=8
)
RESERVATION_STATUS = {"confirmed": "confirmed", "shipped": "shipped", "delivered": "shipped", "returned": "returned"}


class TestInvariants:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(failures=FAILURES, actions=ACTIONS, method=st.sampled_from(["pm_ok", "pm_slow", "pm_declined"]))
    @example({"confirm": ["unavailable"]}, ["wait", "saga/skip"], "pm_ok")
    async def test_every_order_settles_with_matching_stock_and_payment(
        self, embedded: Orders, failures: dict[str, list[Failure]], actions: list[str], method: str
    ) -> None:
        shop = embedded.shop
        shop.failures.update({call: deque(outcomes) for call, outcomes in failures.items()})
        lamp = shop.add_product(stock=3)
        order_id = (await embedded.place({"product_id": lamp, "quantity": 2}, payment_method=method))["order_id"]
        skipped = False
        for action in actions:
            if action == "wait":
                await embedded.advance(3)
                continue
            if action == "saga/skip":
                answer = await embedded.skip_step(order_id, "done manually")
                skipped |= answer.status_code == 202
            else:
                answer = await embedded.request(action, order_id)
            assert answer.status_code in {200, 202, 409}
        await embedded.advance(
            70, times=60
        )  # a quarter of an hour forward, then two compensations with 14 failures each

        status = (await embedded.read(order_id))["status"]
        assert status in {*RESERVATION_STATUS, "cancelled", "failed"}
        assert [event_status for _, event_status in await embedded.published_for(order_id)][-1] == status
        shop.failures.clear()
        if skipped:
            return  # the operator is responsible for the state of the other services
        assert shop.reservation_status(order_id) in (
            {RESERVATION_STATUS[status]} if status in RESERVATION_STATUS else {None, "released"}
        )
        assert shop.net_paid(order_id) == (20.0 if status in {"confirmed", "shipped", "delivered"} else 0)
        assert shop.stock[lamp] == (1 if status in {"shipped", "delivered"} else 3)
