import asyncio

import pytest
from tests.services.payments.support import (
    Promises,
    at_provider,
    balance,
    charge,
    draft,
    events,
    provider,
    read,
    refund,
    refunds,
    void,
)

from portico.contracts.payments import PaymentId
from portico.kit.auth import UserId
from portico.kit.foundation.money import Money
from portico.services.payments.domain import PaymentRequest
from portico.services.payments.jobs import settle_open_payments
from portico.services.payments.provider import ChargeRequest, PaymentProvider, ProviderRefund, ProviderRefused
from portico.services.payments.service import start_payment
from portico.services.payments.simulated_provider.jobs import run_simulated_provider
from portico.services.payments.simulated_provider.provider import SimulatedProvider
from portico.testing.running_service import RunningService


class Gate(SimulatedProvider):
    """A provider that charges only once the test lets it."""

    def __init__(self, within: SimulatedProvider) -> None:
        super().__init__(within._context)
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def charge(self, order: ChargeRequest):  # noqa: ANN201 as above it
        self.reached.set()
        await asyncio.wait_for(self.open.wait(), 10)
        return await super().charge(order)


async def intend(payments: RunningService, key: str) -> PaymentId:
    """A charge that was recorded as intended, and whose process died then."""
    asked, payment_id = draft(key=key), PaymentId.new()
    order = PaymentRequest(asked["order_id"], UserId(asked["user_id"]), Money(2500, "USD"), "pm_ok")
    async with payments.context.transaction() as work:
        await start_payment(work, key=key, request=order, payment_id=payment_id, attempt_limit=15)
    return payment_id


class TestBeforeTheCharge:
    async def test_leaves_a_tombstone(self, payments: RunningService) -> None:
        asked = draft()

        voided = await void(payments, asked["key"])
        late = await payments.as_service("orders").post("/payments", json=asked)

        assert voided.status_code == 200
        assert voided.json() == {
            "key": asked["key"],
            "status": "voided",
            "payment_id": None,
            "refunded": None,
            "currency": None,
        }
        assert (late.status_code, late.json()["code"], late.json()["key"]) == (409, "voided", asked["key"])
        assert await at_provider(payments) == []
        assert await balance(payments) == {}

    async def test_can_be_said_again(self, payments: RunningService) -> None:
        answers = await asyncio.gather(*(void(payments, "ord_1/charge") for _ in range(8)))

        assert {answer.status_code for answer in answers} == {200}


class TestAfterTheCharge:
    async def test_gives_it_back(self, payments: RunningService) -> None:
        asked = draft()
        made = await charge(payments, **asked)

        voided = await void(payments, asked["key"])

        assert voided.json()["payment_id"] == made["payment_id"]
        assert voided.json()["refunded"] == 25
        assert (await read(payments, made["payment_id"]))["status"] == "voided"
        assert await at_provider(payments) == [("succeeded", 2500, 2500)]
        assert await balance(payments) == {"provider": 0, "orders": -2500, "refunds": 2500}
        assert await events(payments) == ["payment.processed", "payment.refunded"]

    async def test_gives_back_what_is_left_of_it(self, payments: RunningService) -> None:
        asked = draft()
        made = await charge(payments, **asked)
        await refund(payments, made["payment_id"], amount=10)

        await void(payments, asked["key"])

        assert (await read(payments, made["payment_id"]))["refunded"] == 25
        assert await at_provider(payments) == [("succeeded", 2500, 2500)]

    async def test_is_done_once_however_many_ask(self, payments: RunningService) -> None:
        asked = draft()
        await charge(payments, **asked)

        answers = await asyncio.gather(*(void(payments, asked["key"]) for _ in range(8)))

        assert {answer.status_code for answer in answers} == {200}
        assert await at_provider(payments) == [("succeeded", 2500, 2500)]
        assert await events(payments) == ["payment.processed", "payment.refunded"]

    async def test_has_nothing_to_give_back_of_what_failed(self, payments: RunningService) -> None:
        asked = draft(method="pm_declined")
        made = await charge(payments, **asked)

        voided = await void(payments, asked["key"])

        assert (voided.status_code, voided.json()["refunded"]) == (200, 0)
        assert (await read(payments, made["payment_id"]))["status"] == "failed"

    async def test_refuses_a_repeat_of_the_charge(self, payments: RunningService) -> None:
        asked = draft()
        await charge(payments, **asked)
        await void(payments, asked["key"])

        answer = await payments.as_service("orders").post("/payments", json=asked)

        assert (answer.status_code, answer.json()["code"]) == (409, "voided")

    async def test_says_where_the_money_can_not_be_given_back(self, embedded: RunningService) -> None:
        asked = draft()
        await charge(embedded, **asked)
        whole = provider(embedded)

        embedded.context.provided[PaymentProvider] = Refuses(whole)
        refused = await void(embedded, asked["key"])
        embedded.context.provided[PaymentProvider] = whole
        embedded.clock.advance(int(refused.headers["retry-after"]))
        later = await void(embedded, asked["key"])

        assert (refused.status_code, refused.json()["code"]) == (409, "void_unfinished")
        assert refused.json()["reason"] == "account_closed"
        assert (later.status_code, later.json()["refunded"]) == (200, 25)


class Refuses(SimulatedProvider):
    """A provider that does not give back."""

    def __init__(self, within: SimulatedProvider) -> None:
        super().__init__(within._context)
        self.asked = 0

    async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
        self.asked += 1
        raise ProviderRefused("account_closed")


class TestARefundThatFails:
    async def test_is_followed_by_another_until_the_money_is_back(self, payments: RunningService) -> None:
        asked = draft()
        made = await charge(payments, **asked)
        whole = provider(payments)
        payments.context.provided[PaymentProvider] = Refuses(whole)
        await void(payments, asked["key"])
        payments.clock.advance(60)
        await settle_open_payments.function(payments.context)
        payments.context.provided[PaymentProvider] = whole

        payments.clock.advance(119)
        await settle_open_payments.function(payments.context)
        too_early = await read(payments, made["payment_id"])
        payments.clock.advance(1)
        await settle_open_payments.function(payments.context)

        assert too_early["refunded"] == 0
        assert (await read(payments, made["payment_id"]))["refunded"] == 25
        assert await balance(payments) == {"provider": 0, "orders": -2500, "refunds": 2500}

    async def test_by_ever_fewer_whoever_asks(self, embedded: RunningService) -> None:
        asked = draft()
        made = await charge(embedded, **asked)
        refusing = embedded.context.provided[PaymentProvider] = Refuses(provider(embedded))

        for _ in range(24 * 60):
            answer = await void(embedded, asked["key"])
            await settle_open_payments.function(embedded.context)
            embedded.clock.advance(60)

        assert (answer.status_code, answer.json()["reason"]) == (409, "account_closed")
        assert refusing.asked == len(await refunds(embedded, made["payment_id"])) == 11

    async def test_staffs_own_is_followed_as_well_where_the_charge_was_voided_meanwhile(
        self, embedded: RunningService
    ) -> None:
        asked = draft()
        made = await charge(embedded, **asked)
        whole = provider(embedded)
        embedded.context.provided[PaymentProvider] = Promises(embedded.context)
        await refund(embedded, made["payment_id"], amount=10)
        embedded.context.provided[PaymentProvider] = Refuses(whole)
        await void(embedded, asked["key"])
        embedded.context.provided[PaymentProvider] = whole

        embedded.clock.advance(120)
        await settle_open_payments.function(embedded.context)

        assert (await read(embedded, made["payment_id"]))["refunded"] == 25
        assert await at_provider(embedded) == [("succeeded", 2500, 2500)]


class TestInFlight:
    """The outcome of a charge is asked for before it is given back."""

    @pytest.mark.parametrize("method", ["pm_slow", "pm_timeout_then_charged", "pm_error_then_ok"])
    async def test_wins_over_every_fault(self, payments: RunningService, method: str) -> None:
        asked = draft(method=method)
        made = await charge(payments, **asked)

        first = await void(payments, asked["key"])
        payments.clock.advance(2)
        await run_simulated_provider.function(payments.context)
        await settle_open_payments.function(payments.context)
        last = await void(payments, asked["key"])

        assert first.status_code == (200 if method == "pm_timeout_then_charged" else 409)
        if first.status_code == 409:
            assert (first.json()["code"], first.headers["retry-after"]) == ("charge_in_flight", "1")
        assert last.status_code == 200
        assert (await read(payments, made["payment_id"]))["status"] == "voided"
        kept = [(amount - back) for status, amount, back in await at_provider(payments) if status == "succeeded"]
        assert sum(kept) == 0
        assert sum(minor for account, minor in (await balance(payments)).items() if account == "provider") == 0

    async def test_of_a_charge_that_is_under_way_waits_for_it(self, payments: RunningService) -> None:
        asked = draft()
        gate = Gate(provider(payments))
        payments.context.provided[PaymentProvider] = gate
        charging = asyncio.create_task(payments.as_service("orders").post("/payments", json=asked))
        await asyncio.wait_for(gate.reached.wait(), 10)

        meanwhile = await void(payments, asked["key"])
        gate.open.set()
        charged = await charging
        afterwards = await void(payments, asked["key"])

        assert meanwhile.json()["code"] == "charge_in_flight"
        assert charged.json()["status"] == "voided"
        assert (afterwards.status_code, afterwards.json()["refunded"]) == (200, 25)
        assert await at_provider(payments) == [("succeeded", 2500, 2500)]
        assert await events(payments) == ["payment.processed", "payment.refunded"]

    async def test_of_a_charge_that_never_left_has_nothing_to_wait_for(self, payments: RunningService) -> None:
        payment_id = await intend(payments, "ord_1/charge")

        too_early = await void(payments, "ord_1/charge")
        payments.clock.advance(15)
        voided = await void(payments, "ord_1/charge")

        assert too_early.json()["code"] == "charge_in_flight"
        assert voided.status_code == 200
        assert (await read(payments, payment_id))["status"] == "voided"
        assert await at_provider(payments) == []
        assert await events(payments) == []

    async def test_a_charge_that_was_long_on_its_way_is_given_back_all_the_same(self, payments: RunningService) -> None:
        payment_id = await intend(payments, "ord_1/charge")
        payments.clock.advance(15)
        await void(payments, "ord_1/charge")
        await provider(payments).charge(ChargeRequest(payment_id, Money(2500, "USD"), "pm_ok", "ord_1"))

        payments.clock.advance(15 * 60)
        await settle_open_payments.function(payments.context)

        assert await at_provider(payments) == [("succeeded", 2500, 2500)]
        assert await balance(payments) == {"provider": 0, "orders": -2500, "refunds": 2500}

    async def test_and_where_none_was_on_its_way_nobody_looks_again(self, embedded: RunningService) -> None:
        payment_id = await intend(embedded, "ord_1/charge")
        embedded.clock.advance(15)
        await void(embedded, "ord_1/charge")

        embedded.clock.advance(15 * 60)
        await settle_open_payments.function(embedded.context)
        await provider(embedded).charge(ChargeRequest(payment_id, Money(2500, "USD"), "pm_ok", "ord_1"))
        embedded.clock.advance(15 * 60)
        await settle_open_payments.function(embedded.context)

        assert await at_provider(embedded) == [("succeeded", 2500, 0)]


class TestRaces:
    async def test_whoever_comes_first_the_money_is_not_kept(self, payments: RunningService) -> None:
        asked = [draft() for _ in range(12)]
        orders = payments.as_service("orders")

        async def both(turn: int) -> None:
            one, other = orders.post("/payments", json=asked[turn]), void(payments, asked[turn]["key"])
            await asyncio.gather(*((one, other) if turn % 2 else (other, one)))

        await asyncio.gather(*(both(turn) for turn in range(len(asked))))
        payments.clock.advance(20)
        await settle_open_payments.function(payments.context)
        answers = await asyncio.gather(*(void(payments, each["key"]) for each in asked))

        assert {answer.status_code for answer in answers} == {200}
        assert all(amount == back for _, amount, back in await at_provider(payments))
        assert (await balance(payments)).get("provider", 0) == 0


class TestRefusals:
    async def test_users_void_nothing(self, embedded: RunningService) -> None:
        assert (await embedded.as_user("*").put("/payments/voids/key")).json()["code"] == "services_only"
        assert (await embedded.anonymous.put("/payments/voids/key")).status_code == 401

    @pytest.mark.parametrize("key", ["a%20b", "k" * 201, "%0A", "%C3%A9"])
    async def test_what_can_be_no_key_is_invalid(self, embedded: RunningService, key: str) -> None:
        assert (await void(embedded, key)).status_code == 422
