import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.services.payments.support import (
    WEBHOOK_PATH,
    PendingRefunds,
    charge,
    charge_body,
    event_body,
    ledger_balances,
    provider,
    provider_charges,
    published_types,
    read,
    refund,
    refunds,
    send_webhook,
    void,
)

from portico.contracts.payments import PaymentId
from portico.kit.foundation.money import Money
from portico.services.payments import service
from portico.services.payments.jobs import delete_old_webhooks, settle_open_payments
from portico.services.payments.provider import (
    PaymentProvider,
    ProviderCharge,
    ProviderEvent,
    ProviderRefund,
    ProviderUnavailable,
)
from portico.services.payments.simulated_provider.provider import SimulatedProvider, decode_event, encode_event
from portico.testing.clock import ManualClock
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)
CHARGES = st.builds(
    lambda charge_id, key, status, minor, refunded, currency: ProviderCharge(
        charge_id, key, status, Money(minor, currency), Money(refunded, currency)
    ),
    PRINTABLE,
    PRINTABLE,
    st.sampled_from(["processing", "succeeded", "failed"]),
    st.integers(0, 10**15),
    st.integers(0, 10**15),
    st.from_regex(r"[A-Z]{3}", fullmatch=True),
)


class TestReceiveWebhook:
    @pytest.mark.parametrize(("status", "event"), [("succeeded", "payment.processed"), ("failed", "payment.failed")])
    async def test_records_the_outcome(self, payments: RunningService, status: str, event: str) -> None:
        payment = await charge(payments, method="pm_slow")

        response = await send_webhook(
            payments, event_body(payment, status, failure_reason="expired_card" if status == "failed" else None)
        )

        assert response.json() == {"event_id": "evt_1", "outcome": "handled"}
        assert (await read(payments, payment["payment_id"]))["status"] == status
        assert await published_types(payments) == [event]

    async def test_handles_an_event_once(self, payments: RunningService) -> None:
        payment = await charge(payments, method="pm_slow")

        responses = await asyncio.gather(*(send_webhook(payments, event_body(payment)) for _ in range(8)))

        assert {response.status_code for response in responses} == {200}
        assert sorted(response.json()["outcome"] for response in responses) == ["handled"] + ["repeated"] * 7
        assert await published_types(payments) == ["payment.processed"]
        assert await ledger_balances(payments) == {"provider": 2500, "orders": -2500}

    async def test_several_events_of_one_charge_count_once(self, payments: RunningService) -> None:
        payment = await charge(payments, method="pm_slow")

        responses = await asyncio.gather(
            *(send_webhook(payments, event_body(payment, event_id=f"evt_{turn}")) for turn in range(6))
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

        await send_webhook(payments, event_body(payment, id=charged.charge_id))

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

        responses = [await send_webhook(payments, body) for _ in range(2)]

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

        await send_webhook(payments, event_body({"payment_id": pending["refund_id"]}, "failed", object="refund"))
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
        response = await send_webhook(embedded, event_body({"payment_id": PaymentId.new()}, object=kind))

        assert (response.status_code, response.json()["outcome"]) == (200, "ignored")

    async def test_contradicting_event_changes_nothing(self, embedded: RunningService) -> None:
        payment = await charge(embedded)

        assert (await send_webhook(embedded, event_body(payment, "failed"))).status_code == 200
        assert (await read(embedded, payment["payment_id"]))["status"] == "succeeded"

    async def test_event_ids_are_deleted_after_the_retention(self, embedded: RunningService) -> None:
        body = event_body({"payment_id": PaymentId.new()})
        await send_webhook(embedded, body)

        embedded.clock.advance(31 * 86_400)
        await delete_old_webhooks.function(embedded.context)

        assert (await send_webhook(embedded, body)).json()["outcome"] == "ignored"


class TestRejections:
    async def test_invalid_signature_is_unauthorized(self, embedded: RunningService) -> None:
        payment = await charge(embedded, method="pm_slow")
        body = event_body(payment)
        of_another = provider(embedded).signature(body + b" ", now=embedded.clock.now())

        for signature in (None, "t=1,v1=2", of_another, "ü"):
            response = await send_webhook(embedded, body, signature=signature)
            assert (response.status_code, response.json()["code"]) == (401, "signature_invalid")
            assert response.headers["www-authenticate"] == "Webhook-Signature"
        assert (await read(embedded, payment["payment_id"]))["status"] == "processing"

    async def test_old_signature_is_rejected(self, embedded: RunningService) -> None:
        payment = await charge(embedded, method="pm_slow")
        recorded = provider(embedded).signature(event_body(payment), now=embedded.clock.now())

        embedded.clock.advance(301)
        response = await send_webhook(embedded, event_body(payment), signature=recorded)

        assert (response.status_code, response.json()["code"]) == (400, "signature_old")
        assert "301 s ago" in response.json()["detail"]

    async def test_signature_with_another_secret_is_unauthorized(self, sqlite_databases: Databases) -> None:
        clock = ManualClock()
        async with run_service(service, sqlite_databases, background=False, clock=clock) as one:
            foreign = provider(one).signature(event_body({"payment_id": PaymentId.new()}), now=clock.now())
        async with run_service(service, sqlite_databases, background=False, clock=clock) as other:
            body = event_body({"payment_id": PaymentId.new()})
            assert (await send_webhook(other, body, signature=foreign)).status_code == 401

    async def test_unknown_provider_is_not_found(self, embedded: RunningService) -> None:
        response = await send_webhook(embedded, b"{}", path="/payments/webhooks/stripe")

        assert (response.status_code, response.json()["code"]) == (404, "provider_unknown")

    async def test_too_large_body_is_rejected(self, embedded: RunningService) -> None:
        response = await send_webhook(embedded, b" " * (256 * 1024 + 1))

        assert response.status_code == 413


class TestUnusableWebhooks:
    """A provider repeats a webhook that is refused, and later disables the endpoint."""

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff\xfe",
            b"{}",
            b"[" * 50_000,
            event_body({"payment_id": "pay_1"}, event_id=""),
            event_body({"payment_id": "pay_1"}, event_id="e" * 256),
            event_body({"payment_id": "pay_1"}, event_id="with space"),
        ],
    )
    async def test_body_that_is_no_event_is_ignored(self, embedded: RunningService, body: bytes) -> None:
        with capture_logs() as lines:
            response = await send_webhook(embedded, body)

        assert (response.status_code, response.json()) == (200, {"event_id": None, "outcome": "ignored"})
        assert [each["log_level"] for each in lines if each["event"] == "webhook_unreadable"] == ["warning"]

    @pytest.mark.parametrize(
        "body",
        [
            event_body({"payment_id": "pay_1"}, amount="2500"),
            event_body({"payment_id": "pay_1"}, amount=2**60),
            event_body({"payment_id": "pay_1"}, currency="usd"),
            event_body({"payment_id": "pay_1"}, object="customer"),
            event_body({"payment_id": "k" * 65}),
            event_body({"payment_id": "pay\0"}),
            event_body({"payment_id": "pay_1"}, "perhaps"),
            orjson.dumps({"id": "evt_1", "type": "account.updated"}),
            orjson.dumps({"id": "evt_1", "type": "account.updated", "created": 1, "data": {"object": []}}),
        ],
    )
    async def test_event_about_something_else_is_ignored(self, embedded: RunningService, body: bytes) -> None:
        response = await send_webhook(embedded, body)

        assert (response.status_code, response.json()) == (200, {"event_id": "evt_1", "outcome": "ignored"})

    @pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded", "nonsense"])
    async def test_content_type_and_query_do_not_matter(self, embedded: RunningService, media_type: str | None) -> None:
        payment = await charge(embedded, method="pm_slow")

        response = await send_webhook(
            embedded, event_body(payment), path=f"{WEBHOOK_PATH}?shop=1&shop=2&provider=x", media_type=media_type
        )

        assert (response.status_code, response.json()["outcome"]) == (200, "handled")

    async def test_fields_that_are_not_needed_do_not_matter(self, embedded: RunningService) -> None:
        payment = await charge(embedded, method="pm_slow")
        event = orjson.loads(event_body(payment, livemode=True))

        response = await send_webhook(embedded, orjson.dumps({"api_version": 7, **event, "created": "today"}))

        assert (response.status_code, response.json()["outcome"]) == (200, "handled")


class TestEventFormat:
    @given(st.binary(max_size=300) | JSON.map(orjson.dumps))
    def test_any_body_can_be_decoded(self, body: bytes) -> None:
        event = decode_event(body)

        assert event is None or (event.charge is None and event.refund is None)

    @given(CHARGES, st.dictionaries(st.text(min_size=15, max_size=20), JSON, max_size=4))
    def test_unknown_fields_change_nothing(self, charged: ProviderCharge, more: dict[str, Any]) -> None:
        event = orjson.loads(encode_event(charged, 1))
        event["data"]["object"] |= more

        decoded = decode_event(orjson.dumps({**more, **event}))

        assert decoded == ProviderEvent(event["id"], f"charge.{charged.status}", charge=charged)
