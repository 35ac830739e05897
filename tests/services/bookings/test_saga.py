"""The saga that makes a booking: what is held, charged, sold and issued, whatever fails."""

import asyncio

import pytest
from tests.services.bookings.support import BookingsService, open_bookings
from tests.services.bookings.venue import ErrorResponse, Failure

from portico.contracts.bookings import BookingConfirmed
from portico.kit import UserId
from portico.testing.databases import Databases

CALLS = ["claim", "charge", "sell"]


async def settle(bookings: BookingsService, booking_id: str) -> str:
    """Run the saga until it has ended and return the status of the booking."""
    await bookings.advance(30, times=12)
    return str((await bookings.read(booking_id))["status"])


class TestConfirmed:
    async def test_claims_charges_sells_and_issues_tickets(self, bookings: BookingsService) -> None:
        booking = await bookings.book(quantity=2)

        await bookings.runner.run_due()

        confirmed = await bookings.read(booking["booking_id"])
        assert (confirmed["status"], confirmed["confirmed_at"]) == ("CONFIRMED", "2026-01-05T09:00:00Z")
        assert bookings.venue.calls == ["take", *CALLS]
        assert (bookings.venue.sold, bookings.venue.net_paid()) == (2, 99)
        assert list(bookings.venue.charges) == [f"booking:{booking['booking_id']}"]
        tickets = await bookings.tickets(booking["booking_id"])
        assert sorted(each["seat"] for each in tickets) == ["1-A-1", "1-A-2"]
        assert await bookings.published_for(booking["booking_id"]) == ["booking.created", "booking.confirmed"]
        (event,) = [each for each in await bookings.run.published() if isinstance(each, BookingConfirmed)]
        assert [(each.section, each.row, each.number) for each in event.places] == [
            ("Stalls", "A", 1),
            ("Stalls", "A", 2),
        ]

    async def test_charges_nothing_for_a_price_of_zero_or_a_complimentary_booking(
        self, bookings: BookingsService
    ) -> None:
        await bookings.book_and_confirm(by=bookings.staff, payment_method="comp")
        bookings.venue.price = 0
        await bookings.book_and_confirm()

        assert (bookings.venue.charges, bookings.venue.sold) == ({}, 2)

    async def test_waits_for_a_slow_charge(self, bookings: BookingsService) -> None:
        booking = await bookings.book(payment_method="pm_slow")

        await bookings.runner.run_due()
        waiting = (await bookings.read(booking["booking_id"]))["status"]
        await bookings.advance(1)

        assert (waiting, (await bookings.read(booking["booking_id"]))["status"]) == ("PENDING", "CONFIRMED")

    @pytest.mark.parametrize("failure", ["unavailable", "lost_before", "lost_after"])
    @pytest.mark.parametrize("call", CALLS)
    async def test_repeats_a_failed_call_without_charging_or_selling_twice(
        self, embedded: BookingsService, call: str, failure: Failure
    ) -> None:
        embedded.venue.failures[call] += [failure] * 3
        booking = await embedded.book(quantity=2)

        await embedded.advance(10, times=6)

        assert (await embedded.read(booking["booking_id"]))["status"] == "CONFIRMED"
        assert (embedded.venue.sold, embedded.venue.net_paid(), len(embedded.venue.charges)) == (2, 99, 1)
        assert len(await embedded.tickets(booking["booking_id"])) == 2


class TestFailed:
    async def test_a_decline_leaves_the_hold_to_its_user_for_another_card(self, bookings: BookingsService) -> None:
        jane = UserId.new()
        caller, hold_id = bookings.as_user(subject=jane), bookings.venue.add_hold(jane)
        declined = await bookings.book(by=caller, hold_id=hold_id, payment_method="pm_declined")
        await bookings.runner.run_due()

        failed = await bookings.read(declined["booking_id"])
        assert (failed["status"], failed["failure_reason"]) == ("FAILED", "payment_declined")
        assert "card_declined" in failed["failure_detail"]
        assert bookings.venue.holds[hold_id].was_kept is True
        assert await bookings.published_for(declined["booking_id"]) == ["booking.created", "booking.failed"]

        paid = await bookings.book_and_confirm(by=caller, hold_id=hold_id)
        assert (paid["hold_id"], bookings.venue.net_paid()) == (hold_id, 49.5)

    async def test_the_last_decline_releases_the_hold(self, sqlite_databases: Databases) -> None:
        async with open_bookings(sqlite_databases, variables={"PAYMENT_TRIES": "2"}) as bookings:
            jane = UserId.new()
            caller, hold_id = bookings.as_user(subject=jane), bookings.venue.add_hold(jane)
            for status in ("ACTIVE", "RELEASED"):
                await bookings.book(by=caller, hold_id=hold_id, payment_method="pm_declined")
                await bookings.runner.run_due()
                assert bookings.venue.holds[hold_id].status == status

    async def test_a_decline_releases_a_hold_that_the_booking_took(self, bookings: BookingsService) -> None:
        booking = await bookings.book(payment_method="pm_declined")

        await bookings.runner.run_due()

        assert (await bookings.read(booking["booking_id"]))["status"] == "FAILED"
        assert (bookings.venue.held, bookings.venue.sold) == (0, 0)

    async def test_a_hold_that_ends_before_it_is_claimed_is_lost(self, bookings: BookingsService) -> None:
        booking = await bookings.book()
        bookings.venue.holds[booking["hold_id"]].status = "EXPIRED"

        await bookings.runner.run_due()

        failed = await bookings.read(booking["booking_id"])
        assert (failed["status"], failed["failure_reason"]) == ("FAILED", "hold_lost")
        assert bookings.venue.charges == {}

    async def test_a_hold_that_is_lost_when_it_is_sold_gives_the_money_back(self, embedded: BookingsService) -> None:
        embedded.venue.refusals["sell"] = ErrorResponse(409, "hold_lost")
        booking = await embedded.book()

        assert await settle(embedded, booking["booking_id"]) == "FAILED"
        assert (await embedded.read(booking["booking_id"]))["failure_reason"] == "hold_lost"
        assert (embedded.venue.net_paid(), embedded.venue.held) == (0, 0)

    @pytest.mark.parametrize("call", ["claim", "sell"])
    async def test_fails_when_seating_says_that_the_show_is_cancelled(
        self, embedded: BookingsService, call: str
    ) -> None:
        embedded.venue.refusals[call] = ErrorResponse(409, "event_cancelled")
        booking = await embedded.book()

        assert await settle(embedded, booking["booking_id"]) == "FAILED"
        assert (await embedded.read(booking["booking_id"]))["failure_reason"] == "event_cancelled"
        assert embedded.venue.net_paid() == 0


class TestExpired:
    async def test_a_booking_without_an_outcome_in_time_expires(self, bookings: BookingsService) -> None:
        jane = UserId.new()
        caller, hold_id = bookings.as_user(subject=jane), bookings.venue.add_hold(jane)
        bookings.venue.failures["charge"] += ["unavailable"] * 1000
        booking = await bookings.book(by=caller, hold_id=hold_id)
        await bookings.runner.run_due()
        assert (await bookings.read(booking["booking_id"]))["status"] == "PENDING"

        assert await settle(bookings, booking["booking_id"]) == "EXPIRED"
        assert bookings.venue.holds[hold_id].was_kept is True
        assert await bookings.published_for(booking["booking_id"]) == ["booking.created", "booking.expired"]

    async def test_the_deadline_is_a_setting(self, sqlite_databases: Databases) -> None:
        async with open_bookings(sqlite_databases, variables={"BOOKING_DEADLINE": "10m"}) as bookings:
            bookings.venue.failures["charge"] += ["unavailable"] * 1000
            booking = await bookings.book()

            await bookings.advance(60, times=9)
            pending = (await bookings.read(booking["booking_id"]))["status"]
            await bookings.advance(60, times=3)

            assert (pending, (await bookings.read(booking["booking_id"]))["status"]) == ("PENDING", "EXPIRED")

    async def test_money_that_comes_late_is_given_back(self, embedded: BookingsService) -> None:
        embedded.venue.failures["charge"] += ["delayed"] * 1000
        booking = await embedded.book()

        assert await settle(embedded, booking["booking_id"]) == "EXPIRED"
        await embedded.venue.deliver_delayed_calls()

        assert (embedded.venue.net_paid(), embedded.venue.held, embedded.venue.sold) == (0, 0, 0)

    async def test_a_charge_whose_answer_was_lost_is_given_back(self, embedded: BookingsService) -> None:
        embedded.venue.failures["charge"] += ["lost_after"] * 1000
        booking = await embedded.book()

        assert await settle(embedded, booking["booking_id"]) == "EXPIRED"
        assert embedded.venue.net_paid() == 0

    async def test_places_that_are_sold_late_are_returned(self, embedded: BookingsService) -> None:
        embedded.venue.failures["sell"] += ["delayed"] * 1000
        embedded.venue.failures["give_back"] += ["unavailable"]
        booking = await embedded.book(quantity=2)

        await embedded.runner.run_due()
        await embedded.advance(130)
        await embedded.venue.deliver_delayed_calls()
        assert embedded.venue.sold == 2
        await embedded.advance(60, times=3)

        assert (await embedded.read(booking["booking_id"]))["status"] == "EXPIRED"
        assert (embedded.venue.sold, embedded.venue.held, embedded.venue.net_paid()) == (0, 0, 0)


class TestCrashes:
    async def test_another_process_takes_over(self, bookings: BookingsService) -> None:
        bookings.venue.gates["charge"] = gate = asyncio.Event()
        booking = await bookings.book()
        running = asyncio.create_task(bookings.runner.run_due())
        await bookings.venue.arrived["charge"].wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        gate.set()

        await bookings.advance(30)

        assert (await bookings.read(booking["booking_id"]))["status"] == "CONFIRMED"
        assert (len(bookings.venue.charges), bookings.venue.sold) == (1, 1)
