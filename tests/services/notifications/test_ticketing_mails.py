"""Mails of ticketing: tickets, cancellations, refunds, offers from the waiting list, transfers."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select
from tests.services.notifications.support import NotificationsService
from tests.services.search.support import show_event

from portico.contracts.bookings import (
    BookedPlace,
    BookingCancelled,
    BookingConfirmed,
    BookingId,
    BookingRescheduled,
    RescheduledShow,
    TicketCancelled,
    TicketId,
    TicketRescheduled,
    TransferId,
    TransferOffered,
)
from portico.contracts.events import ShowDeleted, ShowId, ShowUpdated
from portico.contracts.payments import BookingPaymentRefunded, PaymentId, RefundId
from portico.contracts.seating import HoldId, WaitlistEntryId, WaitlistOffered
from portico.kit import UserId
from portico.kit.data.migrations import MigrationSet, downgrade, upgrade
from portico.services.notifications import service
from portico.services.notifications.mail import MailRefused
from portico.services.notifications.models import Attempt, Notification

STALLS = tuple(BookedPlace(section="Stalls", row="A", number=number) for number in (12, 13))


NEW_DATE = RescheduledShow(
    event_name="Queen",
    event_date=datetime(2027, 7, 1, 19, tzinfo=UTC),
    time_zone="UTC",
    venue_name="The O2",
    full_refund_until=datetime(2026, 1, 19, 9, tzinfo=UTC),
    revision=3,
)


def booking_event(kind: Any, user_id: UserId, **members: Any) -> Any:
    """Return an event about a booking of two places for 99 dollars."""
    usual: dict[str, Any] = {
        "booking_id": BookingId.new(),
        "event_id": ShowId.new(),
        "user_id": user_id,
        "quantity": 2,
        "amount": Decimal(99),
        "currency": "USD",
        "refunded": Decimal(0),
        "failure_reason": None,
    }
    if kind is BookingConfirmed:
        usual["places"] = STALLS
    if kind is BookingCancelled:
        usual |= {"remaining": 0, "is_show_cancelled": False}
    return kind(**usual | members)


def refund(user_id: UserId, **members: Any) -> BookingPaymentRefunded:
    usual: dict[str, Any] = {
        "payment_id": PaymentId.new(),
        "refund_id": RefundId.new(),
        "booking_id": BookingId.new(),
        "user_id": user_id,
        "amount_minor": 4950,
        "refunded_minor": 9900,
        "currency": "USD",
    }
    return BookingPaymentRefunded(**usual | members)


def offer(notifications: NotificationsService, user_id: UserId, **members: Any) -> WaitlistOffered:
    """Return the event of an offer that is open for half an hour."""
    usual: dict[str, Any] = {
        "entry_id": WaitlistEntryId.new(),
        "event_id": ShowId.new(),
        "user_id": user_id,
        "hold_id": HoldId.new(),
        "quantity": 2,
        "expires_at": notifications.run.clock.now() + timedelta(minutes=30),
    }
    return WaitlistOffered(**usual | members)


def transfer(notifications: NotificationsService, **members: Any) -> TransferOffered:
    """Return the event of a ticket that Ada offers to bob@example.com for three days."""
    usual: dict[str, Any] = {
        "ticket_id": TicketId.new(),
        "booking_id": BookingId.new(),
        "event_id": ShowId.new(),
        "seat": "1-A-12",
        "transfer_id": TransferId.new(),
        "email": "bob@example.com",
        "from_name": "Ada Lovelace",
        "expires_at": notifications.run.clock.now() + timedelta(days=3),
    }
    return TransferOffered(**usual | members)


async def show(notifications: NotificationsService, **members: Any) -> ShowId:
    """Deliver the event of a new show and return its id."""
    event = show_event(**members)
    await notifications.run.receives(event)
    return ShowId(event.event_id)


class TestTickets:
    async def test_are_mailed_to_the_buyer(self, notifications: NotificationsService) -> None:
        ada = await notifications.create_user(email="ada@example.com")
        show_id = await show(notifications, time_zone="Europe/Berlin")
        event = booking_event(BookingConfirmed, ada, event_id=show_id)

        await notifications.run.receives(event, event)
        await notifications.send_due()

        (mail,) = await notifications.mails()
        assert mail.recipient == "Ada Lovelace <ada@example.com>"
        assert mail.subject == "Your tickets for Queen"
        assert "Queen\n2027-03-01 20:00 (Europe/Berlin)\nWembley Arena\n" in mail.text
        assert "Stalls, row A, seat 12\nStalls, row A, seat 13\nTotal: 99.00 USD\n" in mail.text
        found = await notifications.single()
        assert (found["template"], found["booking_id"], found["status"]) == ("tickets", event.booking_id, "sent")
        assert found["order_id"] is None
        own = await notifications.run.as_user(subject=ada).get(
            "/notifications", params={"booking_id": event.booking_id}
        )
        assert own.json() == [found]

    async def test_of_a_show_that_is_not_known_are_mailed(self, embedded: NotificationsService) -> None:
        await embedded.run.receives(booking_event(BookingConfirmed, await embedded.create_user()))
        await embedded.send_due()

        assert [mail.subject for mail in await embedded.mails()] == ["Your tickets"]

    async def test_name_the_newest_date_and_venue(self, embedded: NotificationsService) -> None:
        show_id = await show(embedded)
        newest = show_event(ShowUpdated, event_id=show_id, venue_name="The O2", revision=3)
        await embedded.run.receives(newest, show_event(ShowUpdated, event_id=show_id, revision=2))

        await embedded.run.receives(booking_event(BookingConfirmed, await embedded.create_user(), event_id=show_id))
        await embedded.send_due()

        (mail,) = await embedded.mails()
        assert "\nThe O2\n" in mail.text

    async def test_a_deleted_show_is_forgotten(self, embedded: NotificationsService) -> None:
        show_id = await show(embedded)
        await embedded.run.receives(show_event(ShowDeleted, event_id=show_id, revision=2))

        await embedded.run.receives(booking_event(BookingConfirmed, await embedded.create_user(), event_id=show_id))
        await embedded.send_due()

        assert [mail.subject for mail in await embedded.mails()] == ["Your tickets"]


class TestCancellations:
    @pytest.mark.parametrize(
        ("members", "subject", "fragment"),
        [
            ({}, "Your booking for Queen is cancelled", "Your booking has been cancelled"),
            ({"is_show_cancelled": True}, "Your booking for Queen is cancelled", "The event was cancelled"),
            ({"remaining": 1}, "Some of your tickets for Queen are cancelled", "remain valid: 1 of 2"),
            ({"refunded": Decimal("49.5")}, "Your booking for Queen is cancelled", "Refunded in all: 49.50 USD"),
        ],
    )
    async def test_are_mailed(
        self, embedded: NotificationsService, members: dict[str, Any], subject: str, fragment: str
    ) -> None:
        ada, show_id = await embedded.create_user(), await show(embedded)

        await embedded.run.receives(booking_event(BookingCancelled, ada, event_id=show_id, **members))
        await embedded.send_due()

        (mail,) = await embedded.mails()
        assert mail.subject == subject
        assert fragment in mail.text
        assert ("Refunded" in mail.text) == ("refunded" in members)

    async def test_each_part_of_a_booking_gets_its_mail_in_order(self, notifications: NotificationsService) -> None:
        ada, booking_id = await notifications.create_user(), BookingId.new()
        await notifications.run.receives(booking_event(BookingConfirmed, ada, booking_id=booking_id))
        for remaining in (1, 0):
            event = booking_event(BookingCancelled, ada, booking_id=booking_id, remaining=remaining)
            await notifications.run.receives(event, event)

        await notifications.send_due()

        assert [mail.subject for mail in await notifications.mails()] == [
            "Your tickets",
            "Some of your tickets are cancelled",
            "Your booking is cancelled",
        ]


def rescheduled(user_id: UserId, **members: Any) -> Any:
    """Return the event that the show of a booking is now on 1 July 2027, as its revision 3 says."""
    show = NEW_DATE.model_copy(update=members.pop("show", {}))
    return booking_event(BookingRescheduled, user_id, show=show, **members)


class TestNewDates:
    async def test_are_mailed_to_the_buyer(self, notifications: NotificationsService) -> None:
        ada, show_id = await notifications.create_user(), await show(notifications)
        event = rescheduled(ada, event_id=show_id)

        await notifications.run.receives(event, event)
        await notifications.send_due()

        (mail,) = await notifications.mails()
        assert mail.subject == "New date or venue: Queen"
        assert "Queen\n2027-07-01 19:00 (UTC)\nThe O2\n" in mail.text
        assert "Until 2026-01-19 09:00 UTC you can cancel your booking for a full refund." in mail.text

    async def test_that_are_outdated_are_mailed_as_the_newest_one(self, embedded: NotificationsService) -> None:
        ada, show_id = await embedded.create_user(), await show(embedded, venue_name="Roundhouse", revision=4)

        await embedded.run.receives(rescheduled(ada, event_id=show_id, show={"full_refund_until": None}))
        await embedded.send_due()

        (mail,) = await embedded.mails()
        assert "\nRoundhouse\n" in mail.text
        assert "refund" not in mail.text


class TestHoldersOfTransferredTickets:
    async def test_get_a_mail_about_a_new_date(self, notifications: NotificationsService) -> None:
        bob, show_id = await notifications.create_user(email="bob@example.com"), await show(notifications)
        event = TicketRescheduled(**_ticket(show_id), holder_id=bob, show=NEW_DATE)

        await notifications.run.receives(event, event)
        await notifications.send_due()

        (mail,) = await notifications.mails()
        assert (mail.recipient, mail.subject) == ("Ada Lovelace <bob@example.com>", "New date or venue: Queen")
        assert "Queen\n2027-07-01 19:00 (UTC)\nThe O2\n" in mail.text
        assert "Seat: 1-A-12" in mail.text
        assert "refund" not in mail.text

    async def test_get_a_mail_about_a_cancelled_show(self, embedded: NotificationsService) -> None:
        bob, show_id = await embedded.create_user(email="bob@example.com"), await show(embedded)

        await embedded.run.receives(TicketCancelled(**_ticket(show_id), holder_id=bob))
        await embedded.send_due()

        (mail,) = await embedded.mails()
        assert mail.subject == "Your ticket for Queen is cancelled"

    async def test_the_buyer_gets_none_for_each_ticket(self, embedded: NotificationsService) -> None:
        await embedded.run.receives(TicketCancelled(**_ticket(await show(embedded)), holder_id=None))
        await embedded.send_due()

        assert await embedded.mails() == []


def _ticket(show_id: ShowId) -> dict[str, Any]:
    """Return the members of events about a ticket."""
    return {"ticket_id": TicketId.new(), "booking_id": BookingId.new(), "event_id": show_id, "seat": "1-A-12"}


class TestRefunds:
    async def test_are_mailed_each(self, notifications: NotificationsService) -> None:
        ada, booking_id = await notifications.create_user(), BookingId.new()

        await notifications.run.receives(refund(ada, booking_id=booking_id), refund(ada, booking_id=booking_id))
        await notifications.send_due()

        mails = await notifications.mails()
        assert [mail.subject for mail in mails] == [f"A refund for your booking {booking_id}"] * 2
        assert "Refund: 49.50 USD" in mails[0].text


class TestOffers:
    async def test_are_mailed_to_the_user_in_the_waiting_list(self, notifications: NotificationsService) -> None:
        ada, show_id = await notifications.create_user(email="ada@example.com"), await show(notifications)

        await notifications.run.receives(offer(notifications, ada, event_id=show_id))
        await notifications.send_due()

        (mail,) = await notifications.mails()
        assert (mail.recipient, mail.subject) == (
            "Ada Lovelace <ada@example.com>",
            "Places for Queen are held for you",
        )
        assert "\nPlaces: 2\n" in mail.text

    async def test_are_not_mailed_after_they_expired(self, embedded: NotificationsService) -> None:
        await embedded.run.receives(offer(embedded, await embedded.create_user()))

        embedded.run.clock.advance(30 * 60)
        await embedded.send_due()

        detail = await embedded.read_detail()
        assert (detail["status"], detail["failure_reason"]) == ("failed", "unsendable")
        assert detail["attempts"][0]["answer"] == "the offer has expired"


class TestTransfers:
    async def test_are_mailed_to_an_address_without_an_account(self, notifications: NotificationsService) -> None:
        event = transfer(notifications, event_id=await show(notifications))

        await notifications.run.receives(event, event)
        await notifications.send_due()

        (mail,) = await notifications.mails()
        assert (mail.recipient, mail.subject) == ("bob@example.com", "A ticket for Queen is offered to you")
        assert mail.text.startswith("Hello,\n\nAda Lovelace offers you a ticket:\n")
        assert f"Transfer {event.transfer_id}" in mail.text
        found = await notifications.single()
        assert (found["user_id"], found["status"]) == (None, "sent")

    async def test_are_seen_by_staff_only(self, embedded: NotificationsService) -> None:
        await embedded.run.receives(transfer(embedded))

        assert (await embedded.run.as_user().get("/notifications")).json() == []

    async def test_of_a_user_without_a_name_are_mailed(self, embedded: NotificationsService) -> None:
        await embedded.run.receives(transfer(embedded, from_name=None, seat=None))
        await embedded.send_due()

        (mail,) = await embedded.mails()
        assert "Another customer offers you a ticket" in mail.text
        assert "Seat" not in mail.text

    async def test_address_is_erased_with_the_account_that_has_it(self, notifications: NotificationsService) -> None:
        bob = await notifications.create_user(email="bob@example.com")
        await notifications.run.receives(transfer(notifications, email="Bob@example.com"))
        await notifications.send_due()
        notifications.fail_with(MailRefused("550 <bob@example.com> is full"))
        await notifications.run.receives(transfer(notifications), transfer(notifications, email="eve@example.com"))
        await notifications.send_due()
        await notifications.run.receives(transfer(notifications))

        await notifications.delete(bob)
        await notifications.send_due()

        async with notifications.run.context.reader() as reader:
            addresses = {each.address for each in await reader.all(select(Notification))}
            attempts = await reader.all(select(Attempt))
        assert addresses == {None, "eve@example.com"}
        assert {each.recipient for each in attempts} == {None, "eve@example.com"}
        reasons = [each["failure_reason"] for each in await notifications.list_notifications()]
        assert sorted(filter(None, reasons)) == ["recipient_deleted", "refused"]


async def test_migration_keeps_the_mails_that_were_sent_before_it(notifications: NotificationsService) -> None:
    order_id = await notifications.confirm_order(await notifications.create_user())
    await notifications.run.receives(transfer(notifications))
    await notifications.send_due()
    assert service.migrations is not None
    migrations = MigrationSet("notifications", service.migrations, service.tables)
    await downgrade(notifications.run.context.database, migrations, "0002")

    await upgrade(notifications.run.context.database, [migrations])

    detail = await notifications.read_detail()
    assert (detail["order_id"], detail["status"]) == (order_id, "sent")
    assert [attempt["outcome"] for attempt in detail["attempts"]] == ["delivered"]
