import asyncio
from dataclasses import replace
from typing import Any

import orjson
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
from portico.kit.foundation.money import Money
from portico.services.payments import service
from portico.services.payments.jobs import delete_old_webhooks, settle_open_payments
from portico.services.payments.provider import PaymentProvider, ProviderRefund, ProviderUnavailable
from portico.services.payments.simulated_provider.provider import SimulatedProvider
from portico.testing.clock import HeldClock
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, RunningService, running

PATH = "/payments/webhooks/simulated"


def told(payment: dict[str, Any], status: str = "succeeded", *, event_id: str = "evt_1", **changes: Any) -> bytes:
    """What the provider sends of a payment's charge."""
    charged = {
        "object": "charge",
        "id": "ch_1",
        "key": payment["payment_id"],
        "status": status,
        "amount": 2500,
        "currency": "USD",
        **changes,
    }
    return orjson.dumps({"id": event_id, "type": f"charge.{status}", "created": 1, "data": {"object": charged}})


async def send(payments: RunningService, body: bytes, *, signature: str | None = "", path: str = PATH) -> Answer:
    """Send a webhook, rightly signed where nothing else is said."""
    header = provider(payments).signature(body, now=payments.clock.now()) if signature == "" else signature
    headers = {"content-type": "application/json", **({"webhook-signature": header} if header is not None else {})}
    return await payments.anonymous.post(path, content=body, headers=headers)


class TestWhatIsTold:
    @pytest.mark.parametrize(("status", "event"), [("succeeded", "payment.processed"), ("failed", "payment.failed")])
    async def test_is_taken_over(self, payments: RunningService, status: str, event: str) -> None:
        made = await charge(payments, method="pm_slow")

        answer = await send(payments, told(made, status, failure_reason="expired_card" if status == "failed" else None))

        assert answer.json() == {"event_id": "evt_1", "outcome": "handled"}
        assert (await read(payments, made["payment_id"]))["status"] == status
        assert await events(payments) == [event]

    async def test_is_handled_once(self, payments: RunningService) -> None:
        made = await charge(payments, method="pm_slow")

        answers = await asyncio.gather(*(send(payments, told(made)) for _ in range(8)))

        assert {answer.status_code for answer in answers} == {200}
        assert sorted(answer.json()["outcome"] for answer in answers) == ["handled"] + ["repeated"] * 7
        assert await events(payments) == ["payment.processed"]
        assert await balance(payments) == {"provider": 2500, "orders": -2500}

    async def test_by_another_event_of_the_same_charge_counts_once_too(self, payments: RunningService) -> None:
        made = await charge(payments, method="pm_slow")

        answers = await asyncio.gather(*(send(payments, told(made, event_id=f"evt_{turn}")) for turn in range(6)))

        assert {answer.json()["outcome"] for answer in answers} == {"handled"}
        assert await balance(payments) == {"provider": 2500, "orders": -2500}

    async def test_of_a_charge_that_was_voided_meanwhile_gives_it_back(self, payments: RunningService) -> None:
        asked = draft(method="pm_slow")
        made = await charge(payments, **asked)
        assert (await void(payments, asked["key"])).status_code == 409
        payments.clock.advance(2)
        charged = await provider(payments).find_charge(made["payment_id"])
        assert charged is not None

        await send(payments, told(made, id=charged.charge_id))

        assert (await read(payments, made["payment_id"]))["status"] == "voided"
        assert await at_provider(payments) == [("succeeded", 2500, 2500)]

    async def test_of_a_refund_settles_it(self, payments: RunningService) -> None:
        class Unsure(SimulatedProvider):
            async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
                raise ProviderUnavailable

        made = await charge(payments)
        payments.context.provided[PaymentProvider] = Unsure(payments.context)
        given = (await refund(payments, made["payment_id"])).json()
        body = told({"payment_id": given["refund_id"]}, object="refund")

        answers = [await send(payments, body) for _ in range(2)]

        assert [answer.json()["outcome"] for answer in answers] == ["handled", "repeated"]
        assert (await read(payments, made["payment_id"]))["refunded"] == 25
        assert await balance(payments) == {"provider": 0, "orders": -2500, "refunds": 2500}

    async def test_of_a_void_whose_refund_failed_has_another_begun(self, payments: RunningService) -> None:
        asked = draft()
        made = await charge(payments, **asked)
        whole = provider(payments)
        payments.context.provided[PaymentProvider] = Promises(payments.context)
        voided = await void(payments, asked["key"])
        (began,) = await refunds(payments, made["payment_id"])
        payments.context.provided[PaymentProvider] = whole

        await send(payments, told({"payment_id": began["refund_id"]}, "failed", object="refund"))
        await settle_open_payments.function(payments.context)
        at_once = await read(payments, made["payment_id"])
        payments.clock.advance(60)
        await settle_open_payments.function(payments.context)

        assert (voided.status_code, at_once["refunded"]) == (200, 0)
        assert (await read(payments, made["payment_id"]))["refunded"] == 25
        assert [each["status"] for each in await refunds(payments, made["payment_id"])] == ["succeeded", "failed"]
        assert await balance(payments) == {"provider": 0, "orders": -2500, "refunds": 2500}
        assert await at_provider(payments) == [("succeeded", 2500, 2500)]

    @pytest.mark.parametrize("kind", ["charge", "refund"])
    async def test_of_something_unknown_is_ignored(self, embedded: RunningService, kind: str) -> None:
        answer = await send(embedded, told({"payment_id": PaymentId.new()}, object=kind))

        assert (answer.status_code, answer.json()["outcome"]) == (200, "ignored")

    async def test_that_contradicts_what_is_known_changes_nothing(self, embedded: RunningService) -> None:
        made = await charge(embedded)

        assert (await send(embedded, told(made, "failed"))).status_code == 200
        assert (await read(embedded, made["payment_id"]))["status"] == "succeeded"

    async def test_is_forgotten_when_nobody_can_send_it_again(self, embedded: RunningService) -> None:
        body = told({"payment_id": PaymentId.new()})
        await send(embedded, body)

        embedded.clock.advance(31 * 86_400)
        await delete_old_webhooks.function(embedded.context)

        assert (await send(embedded, body)).json()["outcome"] == "ignored"


class TestRefusals:
    """A wrong, an old and a repeated one are told apart."""

    async def test_a_wrong_signature_is_nobody(self, embedded: RunningService) -> None:
        made = await charge(embedded, method="pm_slow")
        body = told(made)
        of_another = provider(embedded).signature(body + b" ", now=embedded.clock.now())

        for signature in (None, "t=1,v1=2", of_another, "ü"):
            answer = await send(embedded, body, signature=signature)
            assert (answer.status_code, answer.json()["code"]) == (401, "signature_invalid")
            assert answer.headers["www-authenticate"] == "Webhook-Signature"
        assert (await read(embedded, made["payment_id"]))["status"] == "processing"

    async def test_an_old_one_may_be_a_recording(self, embedded: RunningService) -> None:
        made = await charge(embedded, method="pm_slow")
        recorded = provider(embedded).signature(told(made), now=embedded.clock.now())

        embedded.clock.advance(301)
        answer = await send(embedded, told(made), signature=recorded)

        assert (answer.status_code, answer.json()["code"]) == (400, "signature_old")
        assert "301 s ago" in answer.json()["detail"]

    async def test_a_signature_by_another_secret(self, sqlite_databases: Databases) -> None:
        clock = HeldClock()
        async with running(replace(service, jobs=()), sqlite_databases, clock=clock) as one:
            foreign = provider(one).signature(told({"payment_id": PaymentId.new()}), now=clock.now())
        async with running(replace(service, jobs=()), sqlite_databases, clock=clock) as other:
            body = told({"payment_id": PaymentId.new()})
            assert (await send(other, body, signature=foreign)).status_code == 401

    async def test_an_unknown_provider_has_no_webhooks(self, embedded: RunningService) -> None:
        answer = await send(embedded, b"{}", path="/payments/webhooks/stripe")

        assert (answer.status_code, answer.json()["code"]) == (404, "provider_unknown")

    async def test_a_body_without_end_is_not_read(self, embedded: RunningService) -> None:
        answer = await send(embedded, b" " * (256 * 1024 + 1))

        assert answer.status_code == 413

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff\xfe",
            b"{}",
            told({"payment_id": "pay_1"}, event_id=""),
            told({"payment_id": "pay_1"}, event_id="e" * 256),
            told({"payment_id": "pay_1"}, event_id="with space"),
            told({"payment_id": "pay_1"}, amount="2500"),
            told({"payment_id": "pay_1"}, amount=2**60),
            told({"payment_id": "pay_1"}, object="customer"),
            told({"payment_id": "k" * 65}),
            told({"payment_id": "pay_1"}, "perhaps"),
            b"[" * 50_000,
        ],
    )
    async def test_what_is_no_event_is_malformed(self, embedded: RunningService, body: bytes) -> None:
        answer = await send(embedded, body)

        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")

    async def test_a_nul_is_no_part_of_a_key(self, embedded: RunningService) -> None:
        assert (await send(embedded, told({"payment_id": "pay\0"}))).status_code == 400
