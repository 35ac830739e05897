import asyncio

import pytest
from sqlalchemy import update
from tests.services.orders.shop import Failure, Orders, open_orders

from portico.kit.data.kit_tables import sagas
from portico.testing.databases import Databases

CALLS = ["reserve", "charge", "confirm"]


class TestManyAtOnce:
    async def test_each_step_is_one_request_for_all_orders(self, orders: Orders) -> None:
        placed = [(await orders.place())["order_id"] for _ in range(12)]

        await orders.runner.run_due()

        assert {(await orders.read(each))["status"] for each in placed} == {"confirmed"}
        assert [orders.shop.net_paid(each) for each in placed] == [10.0] * 12
        assert orders.shop.batches == [12, 12, 12]

    async def test_an_order_that_fails_does_not_concern_the_others(self, orders: Orders) -> None:
        lamp = orders.shop.add_product(stock=1)
        short = (await orders.place({"product_id": lamp, "quantity": 2}))["order_id"]
        declined = (await orders.place(payment_method="pm_declined"))["order_id"]
        placed = [(await orders.place())["order_id"] for _ in range(4)]

        await orders.runner.run_due()

        assert {(await orders.read(each))["status"] for each in placed} == {"confirmed"}
        failed = [await orders.read(each) for each in (short, declined)]
        assert [each["failure_reason"] for each in failed] == ["insufficient_stock", "payment_declined"]
        assert orders.shop.reservation_status(declined) == "released"

    @pytest.mark.parametrize("failure", ["unavailable", "lost_before", "lost_after"])
    async def test_a_call_that_fails_within_a_batch_is_retried_for_its_order(
        self, orders: Orders, failure: Failure
    ) -> None:
        placed = [(await orders.place())["order_id"] for _ in range(5)]
        orders.shop.failures["charge"].append(failure)

        await orders.runner.run_due()
        await orders.advance(60)

        assert {(await orders.read(each))["status"] for each in placed} == {"confirmed"}
        assert [orders.shop.net_paid(each) for each in placed] == [10.0] * 5


class TestPlacing:
    async def test_confirms_the_order(self, orders: Orders) -> None:
        order = await orders.place()

        await orders.runner.run_due()

        order_id = order["order_id"]
        assert (await orders.read(order_id))["status"] == "confirmed"
        assert orders.shop.calls == ["products", *CALLS]
        assert (orders.shop.reservation_status(order_id), orders.shop.net_paid(order_id)) == ("confirmed", 10.0)
        assert await orders.published_for(order_id) == [("order.created", "pending"), ("order.updated", "confirmed")]

    async def test_fails_and_names_products_that_are_short(self, orders: Orders) -> None:
        lamp = orders.shop.add_product(stock=1)
        order = await orders.place({"product_id": lamp, "quantity": 2})

        await orders.runner.run_due()

        failed = await orders.read(order["order_id"])
        assert (failed["status"], failed["failure_reason"]) == ("failed", "insufficient_stock")
        assert f"{lamp} (2 requested, 1 available)" in failed["failure_detail"]
        assert await orders.published_for(order["order_id"]) == [
            ("order.created", "pending"),
            ("order.failed", "failed"),
        ]

    async def test_a_declined_payment_releases_the_stock(self, orders: Orders) -> None:
        order = await orders.place(payment_method="pm_declined")

        await orders.runner.run_due()

        failed = await orders.read(order["order_id"])
        assert (failed["status"], failed["failure_reason"]) == ("failed", "payment_declined")
        assert "card_declined" in failed["failure_detail"]
        assert orders.shop.reservation_status(order["order_id"]) == "released"

    async def test_waits_for_a_slow_charge(self, orders: Orders) -> None:
        order = await orders.place(payment_method="pm_slow")

        await orders.runner.run_due()
        assert (await orders.read(order["order_id"]))["status"] == "reserved"
        await orders.advance(1)

        assert (await orders.read(order["order_id"]))["status"] == "confirmed"

    async def test_does_not_charge_a_total_of_zero(self, embedded: Orders) -> None:
        order = await embedded.place({"product_id": embedded.shop.add_product(0.0), "quantity": 1})

        await embedded.runner.run_due()

        assert (await embedded.read(order["order_id"]))["status"] == "confirmed"
        assert embedded.shop.charges == {}

    @pytest.mark.parametrize("failure", ["unavailable", "lost_before", "lost_after"])
    @pytest.mark.parametrize("call", CALLS)
    async def test_retries_failed_calls(self, embedded: Orders, call: str, failure: Failure) -> None:
        embedded.shop.failures[call] += [failure, failure]
        order = await embedded.place()

        await embedded.advance(1, times=5)

        order_id = order["order_id"]
        assert (await embedded.read(order_id))["status"] == "confirmed"
        assert (embedded.shop.reservation_status(order_id), embedded.shop.net_paid(order_id)) == ("confirmed", 10.0)
        assert len(embedded.shop.charges) == 1

    @pytest.mark.parametrize("failure", ["unavailable", "lost_before", "lost_after"])
    @pytest.mark.parametrize("call", CALLS)
    async def test_compensates_if_a_call_keeps_failing(self, embedded: Orders, call: str, failure: Failure) -> None:
        embedded.shop.failures[call] += [failure] * 50
        order = await embedded.place()

        await embedded.advance(60, times=20)

        order_id = order["order_id"]
        failed = await embedded.read(order_id)
        assert failed["status"] == "failed"
        assert failed["failure_reason"] == failed["failure_reason"].lower()
        assert embedded.shop.reservation_status(order_id) in {None, "released"}
        assert embedded.shop.net_paid(order_id) == 0

    async def test_releases_stock_that_is_reserved_after_the_order_failed(self, sqlite_databases: Databases) -> None:
        async with open_orders(sqlite_databases, retries=True) as orders:
            lamp = orders.shop.add_product(stock=1)
            other = (await orders.place({"product_id": lamp, "quantity": 1}))["order_id"]
            await orders.runner.run_due()
            orders.shop.failures["reserve"] += ["delayed"]  # the second attempt reaches another instance, without stock
            order_id = (await orders.place({"product_id": lamp, "quantity": 1}))["order_id"]
            await orders.runner.run_due()
            await orders.request("cancel", other)
            await orders.runner.run_due()

            await orders.shop.deliver_delayed_calls()

            assert (await orders.read(order_id))["failure_reason"] == "insufficient_stock"
            assert orders.shop.reservation_status(order_id) == "released"

    async def test_retries_compensations_until_they_succeed(self, embedded: Orders) -> None:
        embedded.shop.failures["confirm"] += ["lost_after"] * 50
        embedded.shop.failures["void"] += ["unavailable"] * 15
        embedded.shop.failures["release"] += ["lost_before"] * 15
        order = await embedded.place()

        await embedded.advance(60, times=60)

        assert (await embedded.read(order["order_id"]))["status"] == "failed"
        assert embedded.shop.reservation_status(order["order_id"]) == "released"
        assert embedded.shop.net_paid(order["order_id"]) == 0


class TestCancelling:
    async def test_cancels_a_confirmed_order_at_once_then_refunds_and_releases(self, orders: Orders) -> None:
        order_id = (await orders.place_and_confirm())["order_id"]

        answer = await orders.request("cancel", order_id)
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        await orders.runner.run_due()

        assert (orders.shop.reservation_status(order_id), orders.shop.net_paid(order_id)) == ("released", 0)
        assert (await orders.published_for(order_id))[-1] == ("order.cancelled", "cancelled")

    async def test_before_the_first_step_calls_no_other_service(self, orders: Orders) -> None:
        order = await orders.place()

        answer = await orders.request("cancel", order["order_id"])
        await orders.runner.run_due()

        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        assert (await orders.read(order["order_id"]))["status"] == "cancelled"
        assert orders.shop.net_paid(order["order_id"]) == 0
        assert "charge" not in orders.shop.calls

    @pytest.mark.parametrize("call", CALLS)
    async def test_waits_for_a_running_call_and_compensates_it(self, orders: Orders, call: str) -> None:
        orders.shop.gates[call] = asyncio.Event()
        order_id = (await orders.place())["order_id"]
        async with asyncio.TaskGroup() as group:
            group.create_task(orders.runner.run_due())
            await orders.shop.arrived[call].wait()

            answer = await orders.request("cancel", order_id)
            assert answer.status_code == 202
            assert (await orders.request("cancel", order_id)).status_code == 202
            orders.shop.gates[call].set()

        await orders.advance(1, times=3)
        assert (await orders.read(order_id))["status"] == "cancelled"
        assert (orders.shop.reservation_status(order_id), orders.shop.net_paid(order_id)) == ("released", 0)
        assert ("order.updated", "confirmed") not in await orders.published_for(order_id)

    async def test_rejects_a_cancelled_order(self, orders: Orders) -> None:
        order_id = (await orders.place_and_confirm())["order_id"]
        await orders.request("cancel", order_id)

        answer = await orders.request("cancel", order_id)

        assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
        assert (answer.json()["current"], answer.json()["legal"]) == ("cancelled", [])

    async def test_requires_no_permission_for_an_own_order(self, embedded: Orders) -> None:
        jane = embedded.as_user()
        order = await embedded.place(by=jane)

        assert (await jane.post(f"/orders/{order['order_id']}/cancel")).status_code == 202

    async def test_requires_the_permission_for_the_order_of_another_user(self, embedded: Orders) -> None:
        order_id = (await embedded.place_and_confirm())["order_id"]

        refused = await embedded.as_user("orders:read").post(f"/orders/{order_id}/cancel")
        unmoved = await embedded.read(order_id)
        allowed = await embedded.as_user("orders:write").post(f"/orders/{order_id}/cancel")

        assert (refused.status_code, refused.json()["permission"]) == (403, "orders:write")
        assert (unmoved["status"], allowed.json()["status"]) == ("confirmed", "cancelled")

    async def test_is_unavailable_at_a_step_of_another_version(self, embedded: Orders) -> None:
        order_id = (await embedded.place())["order_id"]
        async with embedded.run.context.transaction() as work:
            await work.execute(update(sagas).values(step="check_for_fraud"))

        answer = await embedded.request("cancel", order_id)

        assert (answer.status_code, answer.json()["code"]) == (503, "saga_of_another_version")
        assert int(answer.headers["retry-after"]) > 0
        assert (await embedded.read(order_id))["status"] == "pending"

    async def test_of_concurrent_requests_one_cancels_and_the_stock_is_released_once(self, orders: Orders) -> None:
        order_id = (await orders.place_and_confirm())["order_id"]

        answers = await asyncio.gather(*(orders.request("cancel", order_id) for _ in range(5)))
        await orders.runner.run_due()

        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
        assert orders.shop.calls.count("release") == 1


class TestFulfilment:
    async def test_an_order_is_shipped_delivered_and_returned(self, orders: Orders) -> None:
        lamp = orders.shop.add_product(stock=5)
        order_id = (await orders.place({"product_id": lamp, "quantity": 2}))["order_id"]
        await orders.runner.run_due()

        shipped = await orders.request("ship", order_id)
        await orders.runner.run_due()
        assert (shipped.status_code, shipped.json()["status"]) == (200, "shipped")
        assert (orders.shop.reservation_status(order_id), orders.shop.stock[lamp]) == ("shipped", 3)
        assert (await orders.request("deliver", order_id)).json()["status"] == "delivered"
        returned = await orders.request("return", order_id)
        await orders.runner.run_due()

        assert returned.json()["status"] == "returned"
        assert (orders.shop.reservation_status(order_id), orders.shop.stock[lamp]) == ("returned", 5)
        assert orders.shop.net_paid(order_id) == 0
        assert [status for _, status in await orders.published_for(order_id)] == [
            "pending",
            "confirmed",
            "shipped",
            "delivered",
            "returned",
        ]

    async def test_retries_calls_to_other_services_without_limit(self, embedded: Orders) -> None:
        order_id = (await embedded.place_and_confirm())["order_id"]
        embedded.shop.failures["ship"] += ["unavailable"] * 20
        await embedded.request("ship", order_id)
        await embedded.request("deliver", order_id)
        await embedded.request("return", order_id)

        await embedded.advance(60, times=30)

        assert embedded.shop.reservation_status(order_id) == "returned"
        assert embedded.shop.net_paid(order_id) == 0

    @pytest.mark.parametrize(
        ("action", "wanted"), [("ship", "shipped"), ("deliver", "delivered"), ("return", "returned")]
    )
    async def test_rejects_an_illegal_transition_and_lists_the_legal_ones(
        self, embedded: Orders, action: str, wanted: str
    ) -> None:
        order = await embedded.place()

        answer = await embedded.request(action, order["order_id"])

        assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
        assert (answer.json()["current"], answer.json()["wanted"]) == ("pending", wanted)
        assert answer.json()["legal"] == ["reserved", "cancelled", "failed"]

    async def test_a_shipped_order_cannot_be_cancelled(self, embedded: Orders) -> None:
        order_id = (await embedded.place_and_confirm())["order_id"]
        await embedded.request("ship", order_id)

        answer = await embedded.request("cancel", order_id)

        assert (answer.status_code, answer.json()["legal"]) == (409, ["delivered"])

    async def test_of_a_concurrent_cancel_and_ship_one_succeeds(self, orders: Orders) -> None:
        for _ in range(5):
            order_id = (await orders.place_and_confirm())["order_id"]

            answers = await asyncio.gather(orders.request("cancel", order_id), orders.request("ship", order_id))
            await orders.runner.run_due()

            assert sorted(answer.status_code for answer in answers) == [200, 409]
            shipped = (await orders.read(order_id))["status"] == "shipped"
            assert orders.shop.reservation_status(order_id) == ("shipped" if shipped else "released")
            assert orders.shop.net_paid(order_id) == (10.0 if shipped else 0)

    async def test_requires_the_permission(self, embedded: Orders) -> None:
        order = await embedded.place()

        for action in ("ship", "deliver", "return", "saga/retry"):
            answer = await embedded.as_user("orders:read").post(f"/orders/{order['order_id']}/{action}")
            assert (answer.status_code, answer.json()["permission"]) == (403, "orders:write")


class TestOperatorRequests:
    async def test_retry_applies_to_the_saga_that_blocks_the_other(self, orders: Orders) -> None:
        order_id = (await orders.place_and_confirm())["order_id"]
        orders.shop.failures["ship"] += ["unavailable"]
        for action in ("ship", "deliver", "return"):
            await orders.request(action, order_id)
        await orders.runner.run_due()
        assert orders.shop.reservation_status(order_id) == "confirmed"

        await orders.request("saga/retry", order_id)
        await orders.runner.run_due()

        assert orders.shop.reservation_status(order_id) == "shipped"

    async def test_retry_runs_a_waiting_saga_at_once(self, orders: Orders) -> None:
        orders.shop.failures["reserve"] += ["unavailable"]
        order_id = (await orders.place())["order_id"]
        await orders.runner.run_due()

        answer = await orders.request("saga/retry", order_id)
        await orders.runner.run_due()

        assert answer.status_code == 202
        assert (await orders.read(order_id))["status"] == "confirmed"

    async def test_skip_continues_after_a_step_that_was_done_manually(self, orders: Orders) -> None:
        orders.shop.failures["charge"] += ["unavailable"] * 3
        order_id = (await orders.place())["order_id"]
        await orders.runner.run_due()

        answer = await orders.skip_step(order_id, "paid in cash")
        await orders.runner.run_due()

        assert answer.status_code == 202
        assert (await orders.read(order_id))["status"] == "confirmed"
        timeline = (await orders.staff.get(f"/orders/{order_id}/timeline")).json()
        (asked,) = [entry for entry in timeline if entry["kind"] == "request"]
        assert (asked["action"], asked["error"]) == ("skip", "paid in cash")
        assert asked["actor"].startswith("user_")

    async def test_skip_compensates_a_charge_that_arrives_later(self, orders: Orders) -> None:
        orders.shop.failures["charge"] += ["delayed"]
        order_id = (await orders.place())["order_id"]
        await orders.runner.run_due()

        await orders.skip_step(order_id, "paid in cash")
        await orders.runner.run_due()
        await orders.shop.deliver_delayed_calls()

        assert (await orders.read(order_id))["status"] == "confirmed"
        assert orders.shop.net_paid(order_id) == 0

    async def test_skip_does_not_limit_the_compensation_by_the_deadline_of_the_step(self, embedded: Orders) -> None:
        embedded.shop.failures["charge"] += ["delayed"]
        embedded.shop.failures["void"] += ["unavailable"] * 11
        order_id = (await embedded.place())["order_id"]
        await embedded.runner.run_due()

        await embedded.skip_step(order_id, "paid in cash")
        await embedded.advance(60, times=12)

        assert (await embedded.read(order_id))["status"] == "confirmed"
        assert embedded.shop.calls.count("void") == 12

    async def test_skip_of_the_last_step_confirms_the_order(self, orders: Orders) -> None:
        orders.shop.failures["confirm"] += ["unavailable"] * 3
        order_id = (await orders.place())["order_id"]
        await orders.runner.run_due()

        await orders.skip_step(order_id, "the warehouse confirmed by telephone")
        await orders.runner.run_due()

        assert (await orders.read(order_id))["status"] == "confirmed"
        assert (await orders.published_for(order_id))[-1] == ("order.updated", "confirmed")
        assert (await orders.request("ship", order_id)).status_code == 200

    async def test_retry_of_a_finished_saga_is_rejected(self, embedded: Orders) -> None:
        order_id = (await embedded.place_and_confirm())["order_id"]

        answer = await embedded.request("saga/retry", order_id)

        assert (answer.status_code, answer.json()["code"]) == (409, "saga_ended")


class TestTimeline:
    async def test_lists_every_step_and_event_with_time_and_outcome(self, orders: Orders) -> None:
        orders.shop.failures["reserve"] += ["unavailable"]
        order_id = (await orders.place(payment_method="pm_declined"))["order_id"]
        await orders.advance(5, times=2)

        timeline = (await orders.staff.get(f"/orders/{order_id}/timeline")).json()

        steps = [
            (each["what"], each["action"], each["attempt"], each["outcome"])
            for each in timeline
            if each["kind"] == "step"
        ]
        assert ("reserve-stock", "do", 1, "failed") in steps
        assert ("reserve-stock", "do", 2, "done") in steps
        assert ("take-payment", "do", 1, "refused") in steps
        assert ("reserve-stock", "undo", 1, "done") in steps
        assert steps[-1][1:] == ("end", 0, "undone")
        events = [each["what"] for each in timeline if each["kind"] == "event"]
        assert events == ["order.created", "order.failed"]
        refused = next(each for each in timeline if each["outcome"] == "refused")
        assert "card_declined" in refused["error"]
        assert refused["seconds"] is not None
        assert [each["compensation"] for each in timeline if each["action"] == "undo"] == [True]

    async def test_lists_the_waiting_step(self, embedded: Orders) -> None:
        order_id = (await embedded.place())["order_id"]

        timeline = (await embedded.staff.get(f"/orders/{order_id}/timeline")).json()

        waiting = timeline[-1]
        assert (waiting["what"], waiting["outcome"], waiting["ended_at"]) == ("reserve-stock", "waiting", None)
