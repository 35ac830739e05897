import asyncio

import pytest
from sqlalchemy import update
from tests.services.orders.shop import Orders, Trouble, open_orders

from portico.kit.data.kit_tables import sagas
from portico.testing.databases import Databases

CALLS = ["reserve", "charge", "confirm"]


class TestPlacing:
    async def test_goes_through_its_states_to_confirmed(self, orders: Orders) -> None:
        order = await orders.placed()

        await orders.runner.run_due()

        order_id = order["order_id"]
        assert (await orders.read(order_id))["status"] == "confirmed"
        assert orders.shop.asked == ["products", *CALLS]
        assert (orders.shop.reserved_for(order_id), orders.shop.kept_of(order_id)) == ("confirmed", 10.0)
        assert await orders.events_of(order_id) == [("order.created", "pending"), ("order.updated", "confirmed")]

    async def test_what_is_short_is_named(self, orders: Orders) -> None:
        lamp = orders.shop.sells(stock=1)
        order = await orders.placed({"product_id": lamp, "quantity": 2})

        await orders.runner.run_due()

        failed = await orders.read(order["order_id"])
        assert (failed["status"], failed["failure_reason"]) == ("failed", "insufficient_stock")
        assert f"{lamp} (2 requested, 1 available)" in failed["failure_detail"]
        assert await orders.events_of(order["order_id"]) == [("order.created", "pending"), ("order.failed", "failed")]

    async def test_a_declined_payment_gives_the_stock_back(self, orders: Orders) -> None:
        order = await orders.placed(payment_method="pm_declined")

        await orders.runner.run_due()

        failed = await orders.read(order["order_id"])
        assert (failed["status"], failed["failure_reason"]) == ("failed", "payment_declined")
        assert "card_declined" in failed["failure_detail"]
        assert orders.shop.reserved_for(order["order_id"]) == "released"

    async def test_a_charge_that_takes_its_time_is_waited_for(self, orders: Orders) -> None:
        order = await orders.placed(payment_method="pm_slow")

        await orders.runner.run_due()
        assert (await orders.read(order["order_id"]))["status"] == "reserved"
        await orders.after(1)

        assert (await orders.read(order["order_id"]))["status"] == "confirmed"

    async def test_what_costs_nothing_is_not_charged(self, embedded: Orders) -> None:
        order = await embedded.placed({"product_id": embedded.shop.sells(0.0), "quantity": 1})

        await embedded.runner.run_due()

        assert (await embedded.read(order["order_id"]))["status"] == "confirmed"
        assert embedded.shop.charges == {}

    @pytest.mark.parametrize("trouble", ["unavailable", "lost_before", "lost_after"])
    @pytest.mark.parametrize("call", CALLS)
    async def test_a_call_that_fails_is_made_again(self, embedded: Orders, call: str, trouble: Trouble) -> None:
        embedded.shop.troubles[call] += [trouble, trouble]
        order = await embedded.placed()

        await embedded.after(1, times=5)

        order_id = order["order_id"]
        assert (await embedded.read(order_id))["status"] == "confirmed"
        assert (embedded.shop.reserved_for(order_id), embedded.shop.kept_of(order_id)) == ("confirmed", 10.0)
        assert len(embedded.shop.charges) == 1

    @pytest.mark.parametrize("trouble", ["unavailable", "lost_before", "lost_after"])
    @pytest.mark.parametrize("call", CALLS)
    async def test_one_that_fails_for_good_is_undone(self, embedded: Orders, call: str, trouble: Trouble) -> None:
        embedded.shop.troubles[call] += [trouble] * 50
        order = await embedded.placed()

        await embedded.after(60, times=20)

        order_id = order["order_id"]
        failed = await embedded.read(order_id)
        assert failed["status"] == "failed"
        assert failed["failure_reason"] == failed["failure_reason"].lower()
        assert embedded.shop.reserved_for(order_id) in {None, "released"}
        assert embedded.shop.kept_of(order_id) == 0

    async def test_what_is_reserved_late_for_a_failed_order_is_released(self, sqlite_databases: Databases) -> None:
        async with open_orders(sqlite_databases, retries=True) as orders:
            lamp = orders.shop.sells(stock=1)
            other = (await orders.placed({"product_id": lamp, "quantity": 1}))["order_id"]
            await orders.runner.run_due()
            orders.shop.troubles["reserve"] += ["late"]  # whose second attempt finds another instance, and no stock
            order_id = (await orders.placed({"product_id": lamp, "quantity": 1}))["order_id"]
            await orders.runner.run_due()
            await orders.does("cancel", other)
            await orders.runner.run_due()

            await orders.shop.arrive()

            assert (await orders.read(order_id))["failure_reason"] == "insufficient_stock"
            assert orders.shop.reserved_for(order_id) == "released"

    async def test_undoing_goes_on_until_it_is_done(self, embedded: Orders) -> None:
        embedded.shop.troubles["confirm"] += ["lost_after"] * 50
        embedded.shop.troubles["void"] += ["unavailable"] * 15
        embedded.shop.troubles["release"] += ["lost_before"] * 15
        order = await embedded.placed()

        await embedded.after(60, times=60)

        assert (await embedded.read(order["order_id"]))["status"] == "failed"
        assert embedded.shop.reserved_for(order["order_id"]) == "released"
        assert embedded.shop.kept_of(order["order_id"]) == 0


class TestCancelling:
    async def test_an_order_that_stands_is_cancelled_at_once_and_its_money_and_stock_follow(
        self, orders: Orders
    ) -> None:
        order_id = (await orders.confirmed())["order_id"]

        answer = await orders.does("cancel", order_id)
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        await orders.runner.run_due()

        assert (orders.shop.reserved_for(order_id), orders.shop.kept_of(order_id)) == ("released", 0)
        assert (await orders.events_of(order_id))[-1] == ("order.cancelled", "cancelled")

    async def test_before_anything_is_under_way_nothing_is_asked_of_others(self, orders: Orders) -> None:
        order = await orders.placed()

        answer = await orders.does("cancel", order["order_id"])
        await orders.runner.run_due()

        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        assert (await orders.read(order["order_id"]))["status"] == "cancelled"
        assert orders.shop.kept_of(order["order_id"]) == 0
        assert "charge" not in orders.shop.asked

    @pytest.mark.parametrize("call", CALLS)
    async def test_a_call_that_is_under_way_is_waited_for_and_then_taken_back(self, orders: Orders, call: str) -> None:
        orders.shop.gates[call] = asyncio.Event()
        order_id = (await orders.placed())["order_id"]
        async with asyncio.TaskGroup() as group:
            group.create_task(orders.runner.run_due())
            await orders.shop.arrived[call].wait()

            answer = await orders.does("cancel", order_id)
            assert answer.status_code == 202
            assert (await orders.does("cancel", order_id)).status_code == 202
            orders.shop.gates[call].set()

        await orders.after(1, times=3)
        assert (await orders.read(order_id))["status"] == "cancelled"
        assert (orders.shop.reserved_for(order_id), orders.shop.kept_of(order_id)) == ("released", 0)
        assert ("order.updated", "confirmed") not in await orders.events_of(order_id)

    async def test_a_cancelled_order_can_not_be_cancelled_again(self, orders: Orders) -> None:
        order_id = (await orders.confirmed())["order_id"]
        await orders.does("cancel", order_id)

        answer = await orders.does("cancel", order_id)

        assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
        assert (answer.json()["current"], answer.json()["legal"]) == ("cancelled", [])

    async def test_ones_own_order_takes_no_permission(self, embedded: Orders) -> None:
        jane = embedded.as_user()
        order = await embedded.placed(by=jane)

        assert (await jane.post(f"/orders/{order['order_id']}/cancel")).status_code == 202

    async def test_anothers_takes_the_permission_to_write(self, embedded: Orders) -> None:
        order_id = (await embedded.confirmed())["order_id"]

        refused = await embedded.as_user("orders:read").post(f"/orders/{order_id}/cancel")
        unmoved = await embedded.read(order_id)
        allowed = await embedded.as_user("orders:write").post(f"/orders/{order_id}/cancel")

        assert (refused.status_code, refused.json()["permission"]) == (403, "orders:write")
        assert (unmoved["status"], allowed.json()["status"]) == ("confirmed", "cancelled")

    async def test_at_a_step_that_another_version_put_in_comes_again_later(self, embedded: Orders) -> None:
        order_id = (await embedded.placed())["order_id"]
        async with embedded.run.context.transaction() as work:
            await work.execute(update(sagas).values(step="check_for_fraud"))

        answer = await embedded.does("cancel", order_id)

        assert (answer.status_code, answer.json()["code"]) == (503, "saga_of_another_version")
        assert int(answer.headers["retry-after"]) > 0
        assert (await embedded.read(order_id))["status"] == "pending"

    async def test_of_two_at_once_one_cancels_and_all_is_given_back_once(self, orders: Orders) -> None:
        order_id = (await orders.confirmed())["order_id"]

        answers = await asyncio.gather(*(orders.does("cancel", order_id) for _ in range(5)))
        await orders.runner.run_due()

        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
        assert orders.shop.asked.count("release") == 1


class TestAfterwards:
    async def test_an_order_is_shipped_delivered_and_returned(self, orders: Orders) -> None:
        lamp = orders.shop.sells(stock=5)
        order_id = (await orders.placed({"product_id": lamp, "quantity": 2}))["order_id"]
        await orders.runner.run_due()

        shipped = await orders.does("ship", order_id)
        await orders.runner.run_due()
        assert (shipped.status_code, shipped.json()["status"]) == (200, "shipped")
        assert (orders.shop.reserved_for(order_id), orders.shop.stock[lamp]) == ("shipped", 3)
        assert (await orders.does("deliver", order_id)).json()["status"] == "delivered"
        returned = await orders.does("return", order_id)
        await orders.runner.run_due()

        assert returned.json()["status"] == "returned"
        assert (orders.shop.reserved_for(order_id), orders.shop.stock[lamp]) == ("returned", 5)
        assert orders.shop.kept_of(order_id) == 0
        assert [status for _, status in await orders.events_of(order_id)] == [
            "pending",
            "confirmed",
            "shipped",
            "delivered",
            "returned",
        ]

    async def test_what_others_have_to_do_is_tried_for_ever(self, embedded: Orders) -> None:
        order_id = (await embedded.confirmed())["order_id"]
        embedded.shop.troubles["ship"] += ["unavailable"] * 20
        await embedded.does("ship", order_id)
        await embedded.does("deliver", order_id)
        await embedded.does("return", order_id)

        await embedded.after(60, times=30)

        assert embedded.shop.reserved_for(order_id) == "returned"
        assert embedded.shop.kept_of(order_id) == 0

    @pytest.mark.parametrize(
        ("action", "wanted"), [("ship", "shipped"), ("deliver", "delivered"), ("return", "returned")]
    )
    async def test_what_can_not_follow_is_refused_and_what_can_is_named(
        self, embedded: Orders, action: str, wanted: str
    ) -> None:
        order = await embedded.placed()

        answer = await embedded.does(action, order["order_id"])

        assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
        assert (answer.json()["current"], answer.json()["wanted"]) == ("pending", wanted)
        assert answer.json()["legal"] == ["reserved", "cancelled", "failed"]

    async def test_a_shipped_order_is_not_cancelled(self, embedded: Orders) -> None:
        order_id = (await embedded.confirmed())["order_id"]
        await embedded.does("ship", order_id)

        answer = await embedded.does("cancel", order_id)

        assert (answer.status_code, answer.json()["legal"]) == (409, ["delivered"])

    async def test_of_a_cancel_and_a_ship_at_once_one_wins(self, orders: Orders) -> None:
        for _ in range(5):
            order_id = (await orders.confirmed())["order_id"]

            answers = await asyncio.gather(orders.does("cancel", order_id), orders.does("ship", order_id))
            await orders.runner.run_due()

            assert sorted(answer.status_code for answer in answers) == [200, 409]
            shipped = (await orders.read(order_id))["status"] == "shipped"
            assert orders.shop.reserved_for(order_id) == ("shipped" if shipped else "released")
            assert orders.shop.kept_of(order_id) == (10.0 if shipped else 0)

    async def test_takes_a_permission(self, embedded: Orders) -> None:
        order = await embedded.placed()

        for action in ("ship", "deliver", "return", "saga/retry"):
            answer = await embedded.as_user("orders:read").post(f"/orders/{order['order_id']}/{action}")
            assert (answer.status_code, answer.json()["permission"]) == (403, "orders:write")


class TestByHand:
    async def test_of_two_sagas_the_one_is_tried_that_the_other_waits_for(self, orders: Orders) -> None:
        order_id = (await orders.confirmed())["order_id"]
        orders.shop.troubles["ship"] += ["unavailable"]
        for action in ("ship", "deliver", "return"):
            await orders.does(action, order_id)
        await orders.runner.run_due()
        assert orders.shop.reserved_for(order_id) == "confirmed"

        await orders.does("saga/retry", order_id)
        await orders.runner.run_due()

        assert orders.shop.reserved_for(order_id) == "shipped"

    async def test_a_saga_that_waits_is_tried_at_once(self, orders: Orders) -> None:
        orders.shop.troubles["reserve"] += ["unavailable"]
        order_id = (await orders.placed())["order_id"]
        await orders.runner.run_due()

        answer = await orders.does("saga/retry", order_id)
        await orders.runner.run_due()

        assert answer.status_code == 202
        assert (await orders.read(order_id))["status"] == "confirmed"

    async def test_a_step_that_somebody_did_is_passed_over(self, orders: Orders) -> None:
        orders.shop.troubles["charge"] += ["unavailable"] * 3
        order_id = (await orders.placed())["order_id"]
        await orders.runner.run_due()

        answer = await orders.skips(order_id, "paid in cash")
        await orders.runner.run_due()

        assert answer.status_code == 202
        assert (await orders.read(order_id))["status"] == "confirmed"
        told = (await orders.staff.get(f"/orders/{order_id}/timeline")).json()
        (asked,) = [entry for entry in told if entry["kind"] == "request"]
        assert (asked["action"], asked["error"]) == ("skip", "paid in cash")
        assert asked["actor"].startswith("user_")

    async def test_what_was_paid_by_hand_is_not_charged_later(self, orders: Orders) -> None:
        orders.shop.troubles["charge"] += ["late"]
        order_id = (await orders.placed())["order_id"]
        await orders.runner.run_due()

        await orders.skips(order_id, "paid in cash")
        await orders.runner.run_due()
        await orders.shop.arrive()

        assert (await orders.read(order_id))["status"] == "confirmed"
        assert orders.shop.kept_of(order_id) == 0

    async def test_the_time_for_a_charge_is_not_that_for_taking_it_back(self, embedded: Orders) -> None:
        embedded.shop.troubles["charge"] += ["late"]
        embedded.shop.troubles["void"] += ["unavailable"] * 11
        order_id = (await embedded.placed())["order_id"]
        await embedded.runner.run_due()

        await embedded.skips(order_id, "paid in cash")
        await embedded.after(60, times=12)

        assert (await embedded.read(order_id))["status"] == "confirmed"
        assert embedded.shop.asked.count("void") == 12

    async def test_the_last_step_done_by_hand_makes_the_order_stand(self, orders: Orders) -> None:
        orders.shop.troubles["confirm"] += ["unavailable"] * 3
        order_id = (await orders.placed())["order_id"]
        await orders.runner.run_due()

        await orders.skips(order_id, "the warehouse was told by telephone")
        await orders.runner.run_due()

        assert (await orders.read(order_id))["status"] == "confirmed"
        assert (await orders.events_of(order_id))[-1] == ("order.updated", "confirmed")
        assert (await orders.does("ship", order_id)).status_code == 200

    async def test_a_saga_that_has_ended_is_left_alone(self, embedded: Orders) -> None:
        order_id = (await embedded.confirmed())["order_id"]

        answer = await embedded.does("saga/retry", order_id)

        assert (answer.status_code, answer.json()["code"]) == (409, "saga_ended")


class TestTimeline:
    async def test_tells_every_step_and_event_with_its_time_and_outcome(self, orders: Orders) -> None:
        orders.shop.troubles["reserve"] += ["unavailable"]
        order_id = (await orders.placed(payment_method="pm_declined"))["order_id"]
        await orders.after(5, times=2)

        told = (await orders.staff.get(f"/orders/{order_id}/timeline")).json()

        steps = [
            (each["what"], each["action"], each["attempt"], each["outcome"]) for each in told if each["kind"] == "step"
        ]
        assert ("reserve-stock", "do", 1, "failed") in steps
        assert ("reserve-stock", "do", 2, "done") in steps
        assert ("take-payment", "do", 1, "refused") in steps
        assert ("reserve-stock", "undo", 1, "done") in steps
        assert steps[-1][1:] == ("end", 0, "undone")
        events = [each["what"] for each in told if each["kind"] == "event"]
        assert events == ["order.created", "order.failed"]
        refused = next(each for each in told if each["outcome"] == "refused")
        assert "card_declined" in refused["error"]
        assert refused["seconds"] is not None
        assert [each["compensation"] for each in told if each["action"] == "undo"] == [True]

    async def test_tells_what_is_still_waiting(self, embedded: Orders) -> None:
        order_id = (await embedded.placed())["order_id"]

        told = (await embedded.staff.get(f"/orders/{order_id}/timeline")).json()

        waiting = told[-1]
        assert (waiting["what"], waiting["outcome"], waiting["ended_at"]) == ("reserve-stock", "waiting", None)
