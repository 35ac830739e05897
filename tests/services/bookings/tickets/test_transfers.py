import asyncio
from typing import Any

import pytest
from tests.services.bookings.support import BookingsService
from tests.services.bookings.tickets.support import Person, issue, person, stranger, void

from portico.contracts.bookings import TransferId
from portico.services.bookings.tickets.errors import TicketTransferred
from portico.services.bookings.tickets.jobs import delete_old_transfers
from portico.services.bookings.tickets.models import Transfer

DAY = 86_400


async def offered(bookings: BookingsService, ada: Person, bob: Person) -> tuple[dict[str, Any], str]:
    """Let Ada offer a ticket to Bob; return the ticket and the transfer's id."""
    await issue(bookings, ada.user_id)
    (ticket,) = await ada.tickets()
    answer = await ada.offer(ticket["ticket_id"], bob.email)
    assert answer.status_code == 201, answer.content
    return ticket, answer.json()["transfer_id"]


class TestOffer:
    async def test_creates_a_pending_transfer_and_announces_it(self, bookings: BookingsService) -> None:
        ada = await person(bookings)
        await issue(bookings, ada.user_id)
        (ticket,) = await ada.tickets()

        answer = await ada.offer(ticket["ticket_id"], "Bob@example.com")

        assert answer.status_code == 201
        transfer = answer.json()
        assert transfer == {
            "transfer_id": transfer["transfer_id"],
            "ticket_id": ticket["ticket_id"],
            "email": "Bob@example.com",
            "status": "PENDING",
            "created_at": "2026-01-05T09:00:00Z",
            "expires_at": "2026-01-08T09:00:00Z",
        }
        event: Any = (await bookings.run.published())[-1]
        assert (event.event_type, event.email, event.from_name) == ("ticket.transfer_offered", "Bob@example.com", "Ada")

    async def test_is_refused_while_another_is_pending_and_possible_after_it_expired(
        self, embedded: BookingsService
    ) -> None:
        ada, bob = await person(embedded), await person(embedded, "Bob")
        ticket, first = await offered(embedded, ada, bob)

        refused = await ada.offer(ticket["ticket_id"], "eve@example.com")
        embedded.run.clock.advance(3 * DAY)
        second = await ada.offer(ticket["ticket_id"], "eve@example.com")

        assert (refused.status_code, refused.json()["code"]) == (409, "transfer_pending")
        assert refused.json()["transfer_id"] == first
        assert second.status_code == 201

    async def test_a_ticket_is_offered_at_most_five_times_a_day(self, embedded: BookingsService) -> None:
        ada, bob = await person(embedded), await person(embedded, "Bob")
        ticket, transfer_id = await offered(embedded, ada, bob)
        for _ in range(4):
            embedded.run.clock.advance(60)
            await ada.caller.delete(f"/transfers/{transfer_id}")
            transfer_id = (await ada.offer(ticket["ticket_id"], bob.email)).json()["transfer_id"]
        await ada.caller.delete(f"/transfers/{transfer_id}")

        refused = await ada.offer(ticket["ticket_id"], bob.email)
        embedded.run.clock.advance(DAY - 240)
        allowed = await ada.offer(ticket["ticket_id"], bob.email)

        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_transfers")
        assert refused.headers["retry-after"] == str(DAY - 240)
        assert allowed.status_code == 201

    async def test_only_the_holder_offers(self, embedded: BookingsService) -> None:
        ada, bob = await person(embedded), await person(embedded, "Bob")
        await issue(embedded, ada.user_id)
        (ticket,) = await ada.tickets()
        staff = embedded.as_user("*")

        by_bob = await bob.offer(ticket["ticket_id"], "bob@example.com")
        by_staff = await staff.post(f"/tickets/{ticket['ticket_id']}/transfer", json={"email": "eve@example.com"})

        assert [each.status_code for each in (by_bob, by_staff)] == [404, 404]

    async def test_of_a_cancelled_ticket_or_to_oneself_is_refused(self, embedded: BookingsService) -> None:
        ada = await person(embedded)
        booking = await issue(embedded, ada.user_id)
        (ticket,) = await ada.tickets()

        to_herself = await ada.offer(ticket["ticket_id"], ada.email.upper())
        await void(embedded, booking.booking_id)
        cancelled = await ada.offer(ticket["ticket_id"], "bob@example.com")

        assert (to_herself.status_code, to_herself.json()["code"]) == (422, "own_address")
        assert (cancelled.status_code, cancelled.json()["code"]) == (409, "ticket_cancelled")

    @pytest.mark.parametrize("email", ["", "bob", "bob@", "@example.com", "a b@example.com", "b\n@example.com"])
    async def test_an_invalid_address_is_422(self, embedded: BookingsService, email: str) -> None:
        ada = await person(embedded)
        await issue(embedded, ada.user_id)

        assert (await ada.offer((await ada.tickets())[0]["ticket_id"], email)).status_code == 422


class TestAccept:
    async def test_gives_the_ticket_under_a_new_code(self, bookings: BookingsService) -> None:
        ada, bob = await person(bookings), await person(bookings, "Bob")
        ticket, transfer_id = await offered(bookings, ada, bob)

        answer = await bob.accept(transfer_id)

        assert answer.status_code == 200
        accepted = answer.json()
        assert accepted == {**ticket, "code": accepted["code"], "holder_name": "Bob"}
        assert accepted["code"] != ticket["code"]
        assert await bob.tickets() == [accepted]
        assert await ada.tickets() == []
        assert (await bookings.run.published())[-1].event_type == "ticket.transferred"

    async def test_a_repeat_changes_nothing(self, embedded: BookingsService) -> None:
        ada, bob = await person(embedded), await person(embedded, "Bob")
        _, transfer_id = await offered(embedded, ada, bob)
        first = await bob.accept(transfer_id)

        second = await bob.accept(transfer_id)

        assert (second.status_code, second.json()) == (200, first.json())

    async def test_is_for_that_address_only(self, embedded: BookingsService) -> None:
        ada, bob, eve = [await person(embedded, name) for name in ("Ada", "Bob", "Eve")]
        _, transfer_id = await offered(embedded, ada, bob)

        answers = [await each.accept(transfer_id) for each in (eve, ada)]
        unknown = await bob.accept(TransferId.new())
        early = await stranger(embedded, "Bob").accept(transfer_id)

        assert [(each.status_code, each.json()["code"]) for each in answers] == [(404, "transfer_not_found")] * 2
        assert unknown.status_code == 404
        assert (early.status_code, early.json()["code"]) == (503, "account_unknown")
        assert len(await ada.tickets()) == 1

    async def test_an_expired_or_withdrawn_transfer_is_refused(self, embedded: BookingsService) -> None:
        ada, bob = await person(embedded), await person(embedded, "Bob")
        ticket, expired = await offered(embedded, ada, bob)
        embedded.run.clock.advance(3 * DAY)
        late = await bob.accept(expired)
        withdrawn = (await ada.offer(ticket["ticket_id"], bob.email)).json()["transfer_id"]

        gone = [await ada.caller.delete(f"/transfers/{withdrawn}") for _ in range(2)]
        refused = await bob.accept(withdrawn)

        assert (late.status_code, late.json()["code"]) == (409, "transfer_expired")
        assert [each.status_code for each in gone] == [204, 204]
        assert (refused.status_code, refused.json()["code"]) == (409, "transfer_ended")

    async def test_a_cancelled_ticket_cannot_be_accepted(self, embedded: BookingsService) -> None:
        ada, bob = await person(embedded), await person(embedded, "Bob")
        ticket, transfer_id = await offered(embedded, ada, bob)
        await void(embedded, ticket["booking_id"])

        answer = await bob.accept(transfer_id)

        assert (answer.status_code, answer.json()["code"]) == (409, "transfer_ended")

    async def test_of_acceptance_and_withdrawal_at_once_one_wins(self, bookings: BookingsService) -> None:
        ada, bob = await person(bookings), await person(bookings, "Bob")
        _, transfer_id = await offered(bookings, ada, bob)

        accepted, withdrawn = await asyncio.gather(
            bob.accept(transfer_id), ada.caller.delete(f"/transfers/{transfer_id}")
        )

        assert (accepted.status_code, withdrawn.status_code) in {(200, 409), (409, 204)}
        assert len(await bob.tickets()) == (accepted.status_code == 200)


class TestAfterTransfer:
    async def test_the_buyer_cannot_cancel_but_a_cancelled_show_voids_it(self, bookings: BookingsService) -> None:
        ada, bob = await person(bookings), await person(bookings, "Bob")
        ticket, transfer_id = await offered(bookings, ada, bob)
        await bob.accept(transfer_id)

        with pytest.raises(TicketTransferred):
            await void(bookings, ticket["booking_id"])
        voided = await void(bookings, ticket["booking_id"], is_final=True)

        assert voided == [ticket["ticket_id"]]
        assert (await bob.tickets())[0]["status"] == "CANCELLED"

    async def test_it_can_be_transferred_on(self, embedded: BookingsService) -> None:
        ada, bob, eve = [await person(embedded, name) for name in ("Ada", "Bob", "Eve")]
        ticket, transfer_id = await offered(embedded, ada, bob)
        await bob.accept(transfer_id)

        onward = (await bob.offer(ticket["ticket_id"], eve.email)).json()["transfer_id"]
        await eve.accept(onward)
        again = await bob.accept(transfer_id)

        assert [each["holder_name"] for each in await eve.tickets()] == ["Eve"]
        assert (again.status_code, again.json()["code"]) == (409, "transfer_ended")


async def test_old_transfers_are_deleted(embedded: BookingsService) -> None:
    ada, bob = await person(embedded), await person(embedded, "Bob")
    _, transfer_id = await offered(embedded, ada, bob)

    embedded.run.clock.advance(33 * DAY)
    await delete_old_transfers.function(embedded.run.context)
    kept = await _transfer(embedded, transfer_id)
    embedded.run.clock.advance(1)
    await delete_old_transfers.function(embedded.run.context)

    assert kept is not None
    assert await _transfer(embedded, transfer_id) is None


async def _transfer(bookings: BookingsService, transfer_id: str) -> Transfer | None:
    async with bookings.run.context.reader() as reader:
        return await reader.get(Transfer, transfer_id)
