import asyncio
from typing import Any

import orjson
import pytest
from tests.services.payments.support import (
    PendingRefunds,
    charge,
    charge_body,
    ledger_balances,
    provider,
    provider_charges,
    published_types,
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
from portico.testing.clock import ManualClock
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, RunningService, run_service

PATH = "/payments/webhooks/simulated"


def event_body(payment: dict[str, Any], status: str = "succeeded", *, event_id: str = "evt_1", **changes: Any) -> bytes:
    """Return the body of a webhook about the charge of a payment."""
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
    """Send a webhook with a valid signature, unless `signature` is given."""
    header = provider(payments).signature(body, now=payments.clock.now()) if signature == "" else signature
    headers = {"content-type": "application/json", **({"webhook-signature": header} if header is not None else {})}
    return await payments.anonymous.post(path, content=body, headers=headers)


class TestReceiveWebhook:
    @pytest.mark.parametrize(("status", "event"), [("succeeded", "payment.processed"), ("failed", "payment.failed")])
    async def test_records_the_outcome(self, payments: RunningService, status: str, event: str) -> None:
        payment = await charge(payments, method="pm_slow")

        response = await send(
            payments, event_body(payment, status, failure_reason="expired_card" if status == "failed" else None)
        )

        assert response.json() == {"event_id": "evt_1", "outcome": "handled"}
        assert (await read(payments, payment["payment_id"]))["status"] == status
        assert await published_types(payments) == [event]

    async def test_handles_an_event_once(self, payments: RunningService) -> None:
        payment = await charge(payments, method="pm_slow")

        responses = await asyncio.gather(*(send(payments, event_body(payment)) for _ in range(8)))

        assert {response.status_code for response in responses} == {200}
        assert sorted(response.json()["outcome"] for response in responses) == ["handled"] + ["repeated"] * 7
        assert await published_types(payments) == ["payment.processed"]
        assert await ledger_balances(payments) == {"provider": 2500, "orders": -2500}

    async def test_several_events_of_one_charge_count_once(self, payments: RunningService) -> None:
        payment = await charge(payments, method="pm_slow")

        responses = await asyncio.gather(
            *(send(payments, event_body(payment, event_id=f"evt_{turn}")) for turn in range(6))
        )

        assert {response.json()["outcome"] for response in responses} == {"handled"}
        assert await ledger_balances(payments) == {"provider": 2500, "orders": -2500}

    async def test_success_of_a_voided_charge_is_refunded(self, payments: RunningService) -> None:
        request = charge_body(method="pm_slow")
        payment = await charge(payments, **request)
        assert (await void(payments, request["key"])).status_code == 409
        payments.clock.advance(2)
        charged = await provider(payments).find_charge(payment["payment_id"])
        assert charged is not None

        await send(payments, event_body(payment, id=charged.charge_id))

        assert (await read(payments, payment["payment_id"]))["status"] == "voided"
        assert await provider_charges(payments) == [("succeeded", 2500, 2500)]

    async def test_settles_a_refund(self, payments: RunningService) -> None:
        class AnswerLost(SimulatedProvider):
            async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
                raise ProviderUnavailable

        payment = await charge(payments)
        payments.context.resources[PaymentProvider] = AnswerLost(payments.context)
        refunded = (await refund(payments, payment["payment_id"])).json()
        body = event_body({"payment_id": refunded["refund_id"]}, object="refund")

        responses = [await send(payments, body) for _ in range(2)]

        assert [response.json()["outcome"] for response in responses] == ["handled", "repeated"]
        assert (await read(payments, payment["payment_id"]))["refunded"] == 25
        assert await ledger_balances(payments) == {"provider": 0, "orders": -2500, "refunds": 2500}

    async def test_failed_refund_of_a_voided_payment_is_replaced(self, payments: RunningService) -> None:
        request = charge_body()
        payment = await charge(payments, **request)
        working = provider(payments)
        payments.context.resources[PaymentProvider] = PendingRefunds(payments.context)
        voided = await void(payments, request["key"])
        (pending,) = await refunds(payments, payment["payment_id"])
        payments.context.resources[PaymentProvider] = working

        await send(payments, event_body({"payment_id": pending["refund_id"]}, "failed", object="refund"))
        await settle_open_payments.function(payments.context)
        at_once = await read(payments, payment["payment_id"])
        payments.clock.advance(60)
        await settle_open_payments.function(payments.context)

        assert (voided.status_code, at_once["refunded"]) == (200, 0)
        assert (await read(payments, payment["payment_id"]))["refunded"] == 25
        assert [each["status"] for each in await refunds(payments, payment["payment_id"])] == ["succeeded", "failed"]
        assert await ledger_balances(payments) == {"provider": 0, "orders": -2500, "refunds": 2500}
        assert await provider_charges(payments) == [("succeeded", 2500, 2500)]

    @pytest.mark.parametrize("kind", ["charge", "refund"])
    async def test_event_about_an_unknown_object_is_ignored(self, embedded: RunningService, kind: str) -> None:
        response = await send(embedded, event_body({"payment_id": PaymentId.new()}, object=kind))

        assert (response.status_code, response.json()["outcome"]) == (200, "ignored")

    async def test_contradicting_event_changes_nothing(self, embedded: RunningService) -> None:
        payment = await charge(embedded)

        assert (await send(embedded, event_body(payment, "failed"))).status_code == 200
        assert (await read(embedded, payment["payment_id"]))["status"] == "succeeded"

    async def test_event_ids_are_deleted_after_the_retention(self, embedded: RunningService) -> None:
        body = event_body({"payment_id": PaymentId.new()})
        await send(embedded, body)

        embedded.clock.advance(31 * 86_400)
        await delete_old_webhooks.function(embedded.context)

        assert (await send(embedded, body)).json()["outcome"] == "ignored"


class TestRejections:
    async def test_invalid_signature_is_unauthorized(self, embedded: RunningService) -> None:
        payment = await charge(embedded, method="pm_slow")
        body = event_body(payment)
        of_another = provider(embedded).signature(body + b" ", now=embedded.clock.now())

        for signature in (None, "t=1,v1=2", of_another, "ü"):
            response = await send(embedded, body, signature=signature)
            assert (response.status_code, response.json()["code"]) == (401, "signature_invalid")
            assert response.headers["www-authenticate"] == "Webhook-Signature"
        assert (await read(embedded, payment["payment_id"]))["status"] == "processing"

    async def test_old_signature_is_rejected(self, embedded: RunningService) -> None:
        payment = await charge(embedded, method="pm_slow")
        recorded = provider(embedded).signature(event_body(payment), now=embedded.clock.now())

        embedded.clock.advance(301)
        response = await send(embedded, event_body(payment), signature=recorded)

        assert (response.status_code, response.json()["code"]) == (400, "signature_old")
        assert "301 s ago" in response.json()["detail"]

    async def test_signature_with_another_secret_is_unauthorized(self, sqlite_databases: Databases) -> None:
        clock = ManualClock()
        async with run_service(service, sqlite_databases, background=False, clock=clock) as one:
            foreign = provider(one).signature(event_body({"payment_id": PaymentId.new()}), now=clock.now())
        async with run_service(service, sqlite_databases, background=False, clock=clock) as other:
            body = event_body({"payment_id": PaymentId.new()})
            assert (await send(other, body, signature=foreign)).status_code == 401

    async def test_unknown_provider_is_not_found(self, embedded: RunningService) -> None:
        response = await send(embedded, b"{}", path="/payments/webhooks/stripe")

        assert (response.status_code, response.json()["code"]) == (404, "provider_unknown")

    async def test_too_large_body_is_rejected(self, embedded: RunningService) -> None:
        response = await send(embedded, b" " * (256 * 1024 + 1))

        assert response.status_code == 413

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff\xfe",
            b"{}",
            event_body({"payment_id": "pay_1"}, event_id=""),
            event_body({"payment_id": "pay_1"}, event_id="e" * 256),
            event_body({"payment_id": "pay_1"}, event_id="with space"),
            event_body({"payment_id": "pay_1"}, amount="2500"),
            event_body({"payment_id": "pay_1"}, amount=2**60),
            event_body({"payment_id": "pay_1"}, object="customer"),
            event_body({"payment_id": "k" * 65}),
            event_body({"payment_id": "pay_1"}, "perhaps"),
            b"[" * 50_000,
        ],
    )
    async def test_malformed_event_is_rejected(self, embedded: RunningService, body: bytes) -> None:
        response = await send(embedded, body)

        assert (response.status_code, response.json()["code"]) == (400, "malformed_request")

    async def test_nul_in_a_key_is_rejected(self, embedded: RunningService) -> None:
        assert (await send(embedded, event_body({"payment_id": "pay\0"}))).status_code == 400
