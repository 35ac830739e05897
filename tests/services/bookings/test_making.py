"""POST /bookings: the hold, the price, and what is refused. Nothing is made if something is refused."""

import asyncio
from typing import Any

import pytest
from tests.services.bookings.support import BookingsService, open_bookings
from tests.services.bookings.venue import FLOOR, ErrorResponse
from tests.support.commits import Commits

from portico.contracts.seating import HoldId
from portico.kit import UserId
from portico.testing.databases import Databases


class TestBookAHold:
    async def test_books_the_places_of_a_hold_at_its_prices(self, bookings: BookingsService) -> None:
        jane = UserId.new()
        hold_id = bookings.venue.add_hold(jane, 2)

        answer = await bookings.try_to_book(by=bookings.as_user(subject=jane), hold_id=hold_id, amount=99)

        booking = answer.json()
        assert answer.status_code == 201, answer.content
        assert answer.headers["location"] == f"/bookings/{booking['booking_id']}"
        assert [each["seat_id"] for each in booking.pop("seats")] == ["1-A-1", "1-A-2"]
        assert booking == {
            "booking_id": booking["booking_id"],
            "event_id": bookings.venue.show_id,
            "user_id": jane,
            "status": "PENDING",
            "quantity": 2,
            "amount": 99,
            "discount": 0,
            "currency": "USD",
            "refunded": 0,
            "hold_id": hold_id,
            "failure_reason": None,
            "failure_detail": None,
            "cancellation_reason": None,
            "created_at": "2026-01-05T09:00:00Z",
            "confirmed_at": None,
            "cancelled_at": None,
        }
        assert bookings.venue.calls == ["hold"]
        assert await bookings.published_for(booking["booking_id"]) == ["booking.created"]

    async def test_the_hold_of_another_user_is_not_found(self, embedded: BookingsService) -> None:
        hold_id = embedded.venue.add_hold(UserId.new())

        for missing in (hold_id, HoldId.new()):
            answer = await embedded.try_to_book(hold_id=missing)
            assert (answer.status_code, answer.json()["code"]) == (404, "hold_not_found")
        assert await embedded.run.published() == []

    @pytest.mark.parametrize(
        ("status", "code"),
        [("EXPIRED", "hold_expired"), ("RELEASED", "hold_expired"), ("CLAIMED", "hold_in_use"), ("SOLD", "hold_used")],
    )
    async def test_a_hold_that_is_not_active_is_refused(
        self, embedded: BookingsService, status: str, code: str
    ) -> None:
        jane = UserId.new()
        hold = embedded.venue.holds[embedded.venue.add_hold(jane)]
        hold.status, hold.booking_id = status, "bkg_1"

        answer = await embedded.try_to_book(by=embedded.as_user(subject=jane), hold_id=hold.hold_id)

        assert (answer.status_code, answer.json()["code"]) == (409, code)
        if code == "hold_used":
            assert answer.json()["booking_id"] == "bkg_1"

    async def test_one_booking_at_a_time_pays_for_a_hold(self, bookings: BookingsService) -> None:
        jane = UserId.new()
        caller, hold_id = bookings.as_user(subject=jane), bookings.venue.add_hold(jane)
        first = await bookings.book(by=caller, hold_id=hold_id)

        paying = await bookings.try_to_book(by=caller, hold_id=hold_id)
        await bookings.runner.run_due()
        bookings.venue.holds[hold_id].status = "ACTIVE"  # as a replica of seating may still say
        paid = await bookings.try_to_book(by=caller, hold_id=hold_id)

        assert (paying.status_code, paying.json()["code"]) == (409, "hold_in_use")
        assert (paid.status_code, paid.json()["code"]) == (409, "hold_used")
        assert paid.json()["booking_id"] == first["booking_id"]


class TestBookPlaces:
    async def test_takes_a_hold_first(self, bookings: BookingsService) -> None:
        booking = await bookings.book(quantity=2, section=FLOOR, code="EARLY")

        (hold,) = bookings.venue.holds.values()
        assert booking["hold_id"] == hold.hold_id
        assert (booking["quantity"], booking["seats"], booking["amount"]) == (2, [], 99)
        assert bookings.venue.calls == ["take"]
        body = bookings.venue.bodies[-1]
        assert body == {"user_id": booking["user_id"], "quantity": 2, "section": FLOOR, "code": "EARLY"}

    async def test_passes_on_chosen_seats_and_the_admission(self, embedded: BookingsService) -> None:
        booking = await embedded.book(seats=["1-B-7"], headers={"X-Admission-Token": "adm"})

        assert [each["seat_id"] for each in booking["seats"]] == ["1-B-7"]
        assert (embedded.venue.bodies[-1]["seats"], embedded.venue.bodies[-1]["admission"]) == (["1-B-7"], "adm")

    async def test_discounts_are_those_of_the_hold(self, embedded: BookingsService) -> None:
        embedded.venue.discount = 9.5

        booking = await embedded.book(quantity=2, code="EARLY")

        assert (booking["amount"], booking["discount"]) == (80, 19)

    async def test_a_repeat_with_the_same_idempotency_key_books_once(self, bookings: BookingsService) -> None:
        jane = bookings.as_user()

        first = await bookings.try_to_book(by=jane, headers={"idempotency-key": "k"})
        again = await bookings.try_to_book(by=jane, headers={"idempotency-key": "k"})

        assert (first.status_code, first.content) == (201, again.content)
        assert len(bookings.venue.holds) == 1

    async def test_a_repeat_after_a_crash_uses_the_hold_that_was_taken(self, embedded: BookingsService) -> None:
        jane = embedded.as_user()
        embedded.venue.failures["take"].append("lost_after")
        lost = await embedded.try_to_book(by=jane, quantity=2, headers={"idempotency-key": "k"})

        again = await embedded.try_to_book(by=jane, quantity=2, headers={"idempotency-key": "k"})

        assert (lost.status_code, again.status_code) == (502, 201)
        assert embedded.venue.held == 2

    @pytest.mark.parametrize(
        ("status", "code", "more"),
        [
            (409, "not_enough_seats", {"requested": 4, "available": 1}),
            (409, "seat_taken", {"seats": ["1-A-1"]}),
            (409, "leaves_single_seat", {"seats": ["1-A-1"]}),
            (409, "no_adjacent_seats", {"largest_block": 3}),
            (409, "seat_limit_reached", {"limit": 8, "held": 4, "booked": 4}),
            (409, "sale_closed", {"event_status": "UPCOMING", "opens_at": "2026-02-01T10:00:00Z", "closes_at": None}),
            (409, "sold_out", {"event_id": 7}),
            (422, "unknown_seat", {"seats": ["9-Z-9"]}),
            (422, "code_unknown", {"used_code": "NONE"}),
            (409, "code_exhausted", {"used_code": "EARLY", "remaining": 0}),
            (409, "code_not_valid_now", {"used_code": "EARLY", "valid_from": None, "valid_until": None}),
            (403, "admission_required", {}),
            (404, "event_not_found", {"event_id": 7}),
        ],
    )
    async def test_a_refusal_is_that_of_the_hold_and_nothing_is_made(
        self, embedded: BookingsService, status: int, code: str, more: dict[str, Any]
    ) -> None:
        in_camel_case = {
            "".join(part if not index else part.title() for index, part in enumerate(name.split("_"))): value
            for name, value in more.items()
        }
        for members in (more, in_camel_case):
            embedded.venue.refusals["take"] = ErrorResponse(status, code, **members)

            answer = await embedded.try_to_book()

            assert (answer.status_code, answer.json()["code"]) == (status, code)
            assert {name: answer.json()[name] for name in more} == more
        assert await embedded.run.published() == []
        assert (await embedded.staff.get("/bookings/totals")).status_code == 403

    async def test_too_many_unknown_codes_are_refused_for_a_while(self, embedded: BookingsService) -> None:
        embedded.venue.refusals["take"] = ErrorResponse(429, "too_many_requests")

        answer = await embedded.try_to_book(code="NONE")

        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
        assert int(answer.headers["retry-after"]) > 0

    async def test_an_unknown_refusal_is_a_failure_of_seating(self, embedded: BookingsService) -> None:
        embedded.venue.refusals["take"] = ErrorResponse(409, "something_new")

        answer = await embedded.try_to_book()

        assert (answer.status_code, answer.json()["code"]) == (502, "service_failed")

    async def test_is_unavailable_without_seating(self, embedded: BookingsService) -> None:
        embedded.venue.failures["take"].append("unavailable")

        answer = await embedded.try_to_book()

        assert (answer.status_code, answer.json()["service"]) == (503, "seating")


class TestAmount:
    async def test_another_price_than_the_expected_one_is_refused_and_the_hold_released(
        self, bookings: BookingsService
    ) -> None:
        answer = await bookings.try_to_book(quantity=2, amount=98.99)

        assert (answer.status_code, answer.json()["code"]) == (409, "price_changed")
        assert (answer.json()["actual"], answer.json()["currency"]) == (99, "USD")
        assert (bookings.venue.held, await bookings.run.published()) == (0, [])

    async def test_a_hold_of_the_buyer_stays_if_the_price_differs(self, embedded: BookingsService) -> None:
        jane = UserId.new()
        hold_id = embedded.venue.add_hold(jane)

        answer = await embedded.try_to_book(by=embedded.as_user(subject=jane), hold_id=hold_id, amount=1)

        assert answer.status_code == 409
        assert embedded.venue.holds[hold_id].status == "ACTIVE"

    async def test_a_request_after_a_refused_price_takes_another_hold(self, embedded: BookingsService) -> None:
        jane, headers = embedded.as_user(), {"idempotency-key": "k"}
        await embedded.try_to_book(by=jane, amount=1, headers=headers)

        again = await embedded.try_to_book(by=jane, amount=49.5, headers=headers)

        assert again.status_code == 201
        assert embedded.venue.held == 1

    async def test_an_amount_with_too_many_decimals_is_refused(self, embedded: BookingsService) -> None:
        answer = await embedded.try_to_book(amount=49.505)

        assert (answer.status_code, answer.json()["code"]) == (422, "too_precise")
        assert embedded.venue.held == 0


class TestPaymentMethod:
    async def test_is_required_on_a_server_unless_nothing_is_paid(self, bookings: BookingsService) -> None:
        paid = await bookings.try_to_book(payment_method=None)
        bookings.venue.price = 0
        free = await bookings.try_to_book(payment_method=None)

        if bookings.run.context.database.dialect == "sqlite":
            assert paid.status_code == 201
        else:
            assert (paid.status_code, paid.json()["code"]) == (422, "payment_method_missing")
            assert bookings.venue.held == 1
        assert free.status_code == 201

    async def test_a_complimentary_booking_needs_the_permission_and_costs_nothing(
        self, embedded: BookingsService
    ) -> None:
        refused = await embedded.try_to_book(payment_method="comp")
        booking = await embedded.book(by=embedded.staff, quantity=2, payment_method="comp")

        assert (refused.status_code, refused.json()["permission"]) == (403, "bookings:write")
        assert (booking["amount"], booking["discount"], booking["seats"][0]["price"]) == (0, 99, 0)

    async def test_a_booking_for_another_user_needs_the_permission(self, embedded: BookingsService) -> None:
        jane = UserId.new()

        refused = await embedded.try_to_book(user_id=jane)
        made = await embedded.try_to_book(by=embedded.staff, user_id=jane)
        own = await embedded.try_to_book(by=embedded.as_user(subject=jane), user_id=jane)

        assert (refused.status_code, refused.json()["permission"]) == (403, "bookings:write")
        assert (made.status_code, made.json()["user_id"], own.status_code) == (201, jane, 201)
        assert {each.user_id for each in embedded.venue.holds.values()} == {jane}

    async def test_requires_a_signed_in_user(self, embedded: BookingsService) -> None:
        assert (await embedded.try_to_book(by=embedded.run.anonymous)).status_code == 401
        assert (await embedded.try_to_book(by=embedded.run.as_service("payments"))).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"quantity": 0},
        {"quantity": -1},
        {"quantity": 10**12},
        {"quantity": 1.5},
        {"quantity": 1, "seats": ["1-A-1"]},
        {"hold_id": HoldId.new(), "quantity": 1},
        {"seats": []},
        {"seats": ["1-A-1", "1-A-1"]},
        {"seats": ["1-A-1"], "section": "Stalls"},
        {"hold_id": HoldId.new(), "code": "EARLY"},
        {"hold_id": "hold_1"},
        {"quantity": 1, "amount": -1},
        {"quantity": 1, "payment_method": ""},
        {"quantity": 1, "event_id": 0},
        {"quantity": 1, "note": "x"},
    ],
)
async def test_an_invalid_request_is_refused(sqlite_databases: Databases, body: dict[str, Any]) -> None:
    async with open_bookings(sqlite_databases) as bookings:
        answer = await bookings.as_user().post("/bookings", json={"event_id": 7, **body})

        assert answer.status_code == 422
        assert bookings.venue.calls == []


class TestSimultaneousBookings:
    async def test_are_written_in_few_transactions(self, bookings: BookingsService) -> None:
        bookings.venue.free = 30
        users = [UserId.new() for _ in range(30)]
        holds = [bookings.venue.add_hold(user) for user in users]
        commits = Commits(bookings.run.context, "bookings")

        answers = await asyncio.gather(
            *(
                bookings.try_to_book(by=bookings.as_user(subject=user), hold_id=hold_id)
                for user, hold_id in zip(users, holds, strict=True)
            )
        )

        assert {answer.status_code for answer in answers} == {201}
        assert commits.count < 15  # the first is committed alone, others while it is
        for answer in answers:
            assert await bookings.published_for(answer.json()["booking_id"]) == ["booking.created"]

    async def test_of_one_hold_are_one_booking(self, bookings: BookingsService) -> None:
        jane, other = UserId.new(), UserId.new()
        contested, own = bookings.venue.add_hold(jane), bookings.venue.add_hold(other)
        by = bookings.as_user(subject=jane)

        *refused, free = await asyncio.gather(
            *(bookings.try_to_book(by=by, hold_id=contested) for _ in range(10)),
            bookings.try_to_book(by=bookings.as_user(subject=other), hold_id=own),
        )

        assert sorted(answer.status_code for answer in refused) == [201] + [409] * 9
        assert {answer.json()["code"] for answer in refused if answer.status_code == 409} == {"hold_in_use"}
        assert free.status_code == 201

    async def test_take_no_connection_while_they_wait(self, databases: Databases) -> None:
        async with open_bookings(databases, variables={"DATABASE_POOL_SIZE": "1"}) as bookings:
            bookings.venue.free = 40
            answers = await asyncio.gather(*(bookings.try_to_book(quantity=1) for _ in range(40)))

            assert {answer.status_code for answer in answers} == {201}
