"""Every order settles, and what is kept and held fits, whatever fails on the way and whatever is done by hand."""

from collections import deque

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.services.orders.shop import Orders, Trouble

CALLS = ("reserve", "charge", "confirm", "void", "release", "ship", "return")
MISHAPS: st.SearchStrategy[dict[str, list[Trouble]]] = st.fixed_dictionaries(
    {call: st.lists(st.sampled_from(["unavailable", "lost_before", "lost_after"]), max_size=14) for call in CALLS}
)
ACTIONS = st.lists(
    st.sampled_from(["cancel", "ship", "deliver", "return", "saga/retry", "saga/skip", "wait"]), max_size=8
)
HELD = {"confirmed": "confirmed", "shipped": "shipped", "delivered": "shipped", "returned": "returned"}


class TestSettling:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(mishaps=MISHAPS, actions=ACTIONS, method=st.sampled_from(["pm_ok", "pm_slow", "pm_declined"]))
    @example({"confirm": ["unavailable"]}, ["wait", "saga/skip"], "pm_ok")
    async def test_whatever_fails(
        self, embedded: Orders, mishaps: dict[str, list[Trouble]], actions: list[str], method: str
    ) -> None:
        shop = embedded.shop
        shop.troubles.update({call: deque(troubles) for call, troubles in mishaps.items()})
        lamp = shop.sells(stock=3)
        order_id = (await embedded.placed({"product_id": lamp, "quantity": 2}, payment_method=method))["order_id"]
        by_hand = False
        for action in actions:
            if action == "wait":
                await embedded.after(3)
                continue
            if action == "saga/skip":
                answer = await embedded.skips(order_id, "done by hand")
                by_hand |= answer.status_code == 202
            else:
                answer = await embedded.does(action, order_id)
            assert answer.status_code in {200, 202, 409}
        await embedded.after(70, times=60)  # forward for a quarter of an hour, then two steps back of 14 mishaps each

        status = (await embedded.read(order_id))["status"]
        assert status in {*HELD, "cancelled", "failed"}
        assert [told for _, told in await embedded.events_of(order_id)][-1] == status
        shop.troubles.clear()
        if by_hand:
            return  # what the others have of it is what somebody made of it
        assert shop.reserved_for(order_id) in ({HELD[status]} if status in HELD else {None, "released"})
        assert shop.kept_of(order_id) == (20.0 if status in {"confirmed", "shipped", "delivered"} else 0)
        assert shop.stock[lamp] == (1 if status in {"shipped", "delivered"} else 3)
