import pytest
from sqlalchemy import select
from tests.services.payments.support import provider

from portico.contracts.payments import PaymentId, RefundId
from portico.kit.calls.channel import Incoming, Outgoing
from portico.kit.calls.errors import Unreachable
from portico.kit.foundation.money import Money
from portico.services.payments.provider import ChargeRequest, PaymentProvider, ProviderRefused, ProviderUnavailable
from portico.services.payments.simulated_provider.jobs import run_simulated_provider
from portico.services.payments.simulated_provider.models import SimulatedWebhook
from portico.services.payments.simulated_provider.provider import BEHAVIORS
from portico.testing.channels import ScriptedChannel, canned_response
from portico.testing.running_service import RunningService

USD25, NOTHING = Money(2500, "USD"), Money(0, "USD")


def order(method: str = "pm_ok", amount: Money = USD25, key: str | None = None) -> ChargeRequest:
    return ChargeRequest(key or PaymentId.new(), amount, method, "ord_1")


async def waiting(payments: RunningService) -> list[SimulatedWebhook]:
    """Return the webhooks that were not accepted yet."""
    async with payments.context.reader() as reader:
        return list(await reader.all(select(SimulatedWebhook).order_by(SimulatedWebhook.number)))


class TestCharge:
    @pytest.mark.parametrize(
        ("method", "status", "reason"),
        [
            ("pm_ok", "succeeded", None),
            ("pm_duplicate_webhook", "succeeded", None),
            ("pm_declined", "failed", "card_declined"),
            ("pm_insufficient_funds", "failed", "insufficient_funds"),
            ("pm_slow", "processing", None),
        ],
    )
    async def test_answer_depends_on_the_method(
        self, payments: RunningService, method: str, status: str, reason: str | None
    ) -> None:
        request = order(method)

        charge = await provider(payments).charge(request)

        assert (charge.key, charge.status, charge.failure_reason) == (request.key, status, reason)
        assert (charge.amount, charge.refunded) == (USD25, NOTHING)
        assert await provider(payments).charge(request) == charge
        assert await provider(payments).find_charge(request.key) == charge

    async def test_is_made_even_if_the_answer_is_lost(self, payments: RunningService) -> None:
        request = order("pm_timeout_then_charged")

        with pytest.raises(ProviderUnavailable):
            await provider(payments).charge(request)

        found = await provider(payments).find_charge(request.key)
        assert found is not None
        assert found.status == "succeeded"
        assert await provider(payments).charge(request) == found

    async def test_is_not_made_if_the_request_failed(self, payments: RunningService) -> None:
        request = order("pm_error_then_ok")

        with pytest.raises(ProviderUnavailable):
            await provider(payments).charge(request)

        assert await provider(payments).find_charge(request.key) is None
        assert await provider(payments).charges(after=None, limit=10) == []
        assert (await provider(payments).charge(request)).status == "succeeded"

    async def test_slow_charge_settles_after_the_delay(self, payments: RunningService) -> None:
        request = order("pm_slow")
        await provider(payments).charge(request)

        payments.clock.advance(1.9)
        early = await provider(payments).find_charge(request.key)
        payments.clock.advance(0.2)
        late = await provider(payments).find_charge(request.key)

        assert early is not None
        assert late is not None
        assert (early.status, late.status) == ("processing", "succeeded")

    async def test_refuses_an_unknown_method(self, embedded: RunningService) -> None:
        with pytest.raises(ProviderRefused, match="unknown_payment_method"):
            await provider(embedded).charge(order("pm_gold"))
        assert await provider(embedded).find_charge("nothing") is None

    async def test_refuses_a_reused_key(self, embedded: RunningService) -> None:
        request = order()
        await provider(embedded).charge(request)

        for other in (order(amount=Money(1, "USD"), key=request.key), order("pm_slow", key=request.key)):
            with pytest.raises(ProviderRefused, match="idempotency_key_reused"):
                await provider(embedded).charge(other)


class TestRefund:
    async def test_refunds_once_per_key(self, payments: RunningService) -> None:
        charge = await provider(payments).charge(order())
        key = RefundId.new()

        first, again = [await provider(payments).refund(key, charge.charge_id, Money(1000, "USD")) for _ in range(2)]

        assert first == again
        found = await provider(payments).find_charge(charge.key)
        assert found is not None
        assert found.refunded == Money(1000, "USD")

    async def test_never_exceeds_the_charge(self, embedded: RunningService) -> None:
        charge = await provider(embedded).charge(order())
        await provider(embedded).refund(RefundId.new(), charge.charge_id, Money(2000, "USD"))

        for amount in (Money(501, "USD"), Money(500, "EUR")):
            with pytest.raises(ProviderRefused, match="charge_already_refunded"):
                await provider(embedded).refund(RefundId.new(), charge.charge_id, amount)

    async def test_refuses_an_uncharged_payment(self, embedded: RunningService) -> None:
        charge = await provider(embedded).charge(order("pm_declined"))

        for charge_id in (charge.charge_id, "ch_none"):
            with pytest.raises(ProviderRefused, match="charge_not_refundable"):
                await provider(embedded).refund(RefundId.new(), charge_id, USD25)


class TestCharges:
    async def test_are_listed_oldest_first(self, payments: RunningService) -> None:
        created = [await provider(payments).charge(order()) for _ in range(5)]

        first = await provider(payments).charges(after=None, limit=3)
        rest = await provider(payments).charges(after=first[-1].charge_id, limit=3)

        assert [*first, *rest] == created


class TestWebhooks:
    @pytest.mark.parametrize(("method", "times"), [(method, act.webhooks) for method, act in BEHAVIORS.items()])
    async def test_report_outcomes_that_the_answer_did_not_contain(
        self, embedded: RunningService, method: str, times: int
    ) -> None:
        try:
            await provider(embedded).charge(order(method))
        except ProviderUnavailable:
            assert method in {"pm_timeout_then_charged", "pm_error_then_ok"}
        embedded.context.channel = ScriptedChannel(Unreachable("payments", "is down"))
        embedded.clock.advance(2)

        await run_simulated_provider.function(embedded.context)

        left = await waiting(embedded)
        assert len(left) == times
        assert len({each.body for each in left}) == min(times, 1)

    async def test_are_retried_until_accepted(self, payments: RunningService) -> None:
        await provider(payments).charge(order("pm_duplicate_webhook"))
        channel = ScriptedChannel(
            Unreachable("payments", "is down"), canned_response(503), canned_response(500), canned_response(200)
        )
        payments.context.channel = channel

        await run_simulated_provider.function(payments.context)
        await run_simulated_provider.function(payments.context)
        assert len(channel.sent) == 2
        assert [each.attempts for each in await waiting(payments)] == [1, 1]
        payments.clock.advance(2)
        await run_simulated_provider.function(payments.context)
        payments.clock.advance(4)
        await run_simulated_provider.function(payments.context)

        assert await waiting(payments) == []
        assert {each.path for each in channel.sent} == {"/payments/webhooks/simulated"}

    async def test_are_signed_when_sent(self, embedded: RunningService) -> None:
        class Takes:
            async def send(self, out: Outgoing) -> Incoming:
                header = dict(out.headers)[b"webhook-signature"].decode()
                event = provider(embedded).event(out.body, header, now=embedded.clock.now())
                assert event.type == "charge.succeeded"
                return canned_response()

        await provider(embedded).charge(order("pm_duplicate_webhook"))
        embedded.context.channel = Takes()
        embedded.clock.advance(86_400)

        await run_simulated_provider.function(embedded.context)

        assert await waiting(embedded) == []

    async def test_are_given_up_after_three_days(self, embedded: RunningService) -> None:
        await provider(embedded).charge(order("pm_duplicate_webhook"))
        embedded.context.channel = ScriptedChannel(canned_response(500))

        embedded.clock.advance(3 * 86_400 + 1)
        await run_simulated_provider.function(embedded.context)

        assert await waiting(embedded) == []

    async def test_are_not_sent_with_another_provider(self, embedded: RunningService) -> None:
        await provider(embedded).charge(order("pm_duplicate_webhook"))
        embedded.context.resources[PaymentProvider] = object()

        await run_simulated_provider.function(embedded.context)

        assert len(await waiting(embedded)) == 2
