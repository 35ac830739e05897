import pytest
from sqlalchemy import select
from tests.services.payments.support import provider

from portico.contracts.payments import PaymentId, RefundId
from portico.kit.calls.channel import Incoming, Outgoing
from portico.kit.calls.errors import Unreachable
from portico.kit.foundation.money import Money
from portico.services.payments.provider import ChargeRequest, PaymentProvider, ProviderRefused, ProviderUnavailable
from portico.services.payments.simulated_provider.domain import BEHAVIORS
from portico.services.payments.simulated_provider.jobs import run_simulated_provider
from portico.services.payments.simulated_provider.models import SimulatedWebhook
from portico.testing.channels import ScriptedChannel, answering
from portico.testing.running_service import RunningService

USD25, NOTHING = Money(2500, "USD"), Money(0, "USD")


def order(method: str = "pm_ok", amount: Money = USD25, key: str | None = None) -> ChargeRequest:
    return ChargeRequest(key or PaymentId.new(), amount, method, "ord_1")


async def waiting(payments: RunningService) -> list[SimulatedWebhook]:
    """The webhooks that were not taken yet."""
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
    async def test_answers_as_the_method_says(
        self, payments: RunningService, method: str, status: str, reason: str | None
    ) -> None:
        asked = order(method)

        charge = await provider(payments).charge(asked)

        assert (charge.key, charge.status, charge.failure_reason) == (asked.key, status, reason)
        assert (charge.amount, charge.refunded) == (USD25, NOTHING)
        assert await provider(payments).charge(asked) == charge
        assert await provider(payments).find_charge(asked.key) == charge

    async def test_is_made_though_the_answer_is_lost(self, payments: RunningService) -> None:
        asked = order("pm_timeout_then_charged")

        with pytest.raises(ProviderUnavailable):
            await provider(payments).charge(asked)

        found = await provider(payments).find_charge(asked.key)
        assert found is not None
        assert found.status == "succeeded"
        assert await provider(payments).charge(asked) == found

    async def test_is_not_made_where_there_was_an_error(self, payments: RunningService) -> None:
        asked = order("pm_error_then_ok")

        with pytest.raises(ProviderUnavailable):
            await provider(payments).charge(asked)

        assert await provider(payments).find_charge(asked.key) is None
        assert await provider(payments).charges(after=None, limit=10) == []
        assert (await provider(payments).charge(asked)).status == "succeeded"

    async def test_a_slow_one_is_known_in_time(self, payments: RunningService) -> None:
        asked = order("pm_slow")
        await provider(payments).charge(asked)

        payments.clock.advance(1.9)
        early = await provider(payments).find_charge(asked.key)
        payments.clock.advance(0.2)
        late = await provider(payments).find_charge(asked.key)

        assert early is not None
        assert late is not None
        assert (early.status, late.status) == ("processing", "succeeded")

    async def test_refuses_what_it_does_not_know(self, embedded: RunningService) -> None:
        with pytest.raises(ProviderRefused, match="unknown_payment_method"):
            await provider(embedded).charge(order("pm_gold"))
        assert await provider(embedded).find_charge("nothing") is None

    async def test_refuses_another_charge_by_the_same_key(self, embedded: RunningService) -> None:
        asked = order()
        await provider(embedded).charge(asked)

        for other in (order(amount=Money(1, "USD"), key=asked.key), order("pm_slow", key=asked.key)):
            with pytest.raises(ProviderRefused, match="idempotency_key_reused"):
                await provider(embedded).charge(other)


class TestRefund:
    async def test_gives_back_once_by_its_key(self, payments: RunningService) -> None:
        charge = await provider(payments).charge(order())
        key = RefundId.new()

        first, again = [await provider(payments).refund(key, charge.charge_id, Money(1000, "USD")) for _ in range(2)]

        assert first == again
        found = await provider(payments).find_charge(charge.key)
        assert found is not None
        assert found.refunded == Money(1000, "USD")

    async def test_never_more_than_was_charged(self, embedded: RunningService) -> None:
        charge = await provider(embedded).charge(order())
        await provider(embedded).refund(RefundId.new(), charge.charge_id, Money(2000, "USD"))

        for amount in (Money(501, "USD"), Money(500, "EUR")):
            with pytest.raises(ProviderRefused, match="charge_already_refunded"):
                await provider(embedded).refund(RefundId.new(), charge.charge_id, amount)

    async def test_nothing_of_what_was_not_charged(self, embedded: RunningService) -> None:
        charge = await provider(embedded).charge(order("pm_declined"))

        for charge_id in (charge.charge_id, "ch_none"):
            with pytest.raises(ProviderRefused, match="charge_not_refundable"):
                await provider(embedded).refund(RefundId.new(), charge_id, USD25)


class TestCharges:
    async def test_are_listed_by_age(self, payments: RunningService) -> None:
        made = [await provider(payments).charge(order()) for _ in range(5)]

        first = await provider(payments).charges(after=None, limit=3)
        rest = await provider(payments).charges(after=first[-1].charge_id, limit=3)

        assert [*first, *rest] == made


class TestWebhooks:
    @pytest.mark.parametrize(("method", "times"), [(method, act.webhooks) for method, act in BEHAVIORS.items()])
    async def test_tell_what_the_answer_did_not(self, embedded: RunningService, method: str, times: int) -> None:
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

    async def test_are_sent_until_they_are_taken(self, payments: RunningService) -> None:
        await provider(payments).charge(order("pm_duplicate_webhook"))
        channel = ScriptedChannel(Unreachable("payments", "is down"), answering(503), answering(500), answering(200))
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

    async def test_carry_a_signature_of_the_moment(self, embedded: RunningService) -> None:
        class Takes:
            async def send(self, out: Outgoing) -> Incoming:
                header = dict(out.headers)[b"webhook-signature"].decode()
                event = provider(embedded).event(out.body, header, now=embedded.clock.now())
                assert event.type == "charge.succeeded"
                return answering()

        await provider(embedded).charge(order("pm_duplicate_webhook"))
        embedded.context.channel = Takes()
        embedded.clock.advance(86_400)

        await run_simulated_provider.function(embedded.context)

        assert await waiting(embedded) == []

    async def test_are_given_up_after_days(self, embedded: RunningService) -> None:
        await provider(embedded).charge(order("pm_duplicate_webhook"))
        embedded.context.channel = ScriptedChannel(answering(500))

        embedded.clock.advance(3 * 86_400 + 1)
        await run_simulated_provider.function(embedded.context)

        assert await waiting(embedded) == []

    async def test_nothing_is_done_where_another_provider_is(self, embedded: RunningService) -> None:
        await provider(embedded).charge(order("pm_duplicate_webhook"))
        embedded.context.provided[PaymentProvider] = object()

        await run_simulated_provider.function(embedded.context)

        assert len(await waiting(embedded)) == 2
