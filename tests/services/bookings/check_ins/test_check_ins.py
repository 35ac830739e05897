import asyncio
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import func, select
from tests.services.bookings.check_ins.support import gate, ticket_of
from tests.services.bookings.support import BookingsService, place
from tests.services.bookings.tickets.support import issue, person, void

from portico.contracts.bookings import CheckInId
from portico.contracts.events import ShowId
from portico.kit.auth import SigningKey
from portico.services.bookings.check_ins.models import CheckIn
from portico.services.bookings.tickets.domain import TicketCode, new_serial
from portico.services.bookings.tickets.errors import TicketUsed
from portico.services.bookings.tickets.signing_keys import TicketKeys

NOW = "2026-01-05T09:00:00Z"


async def count_check_ins(bookings: BookingsService) -> int:
    async with bookings.run.context.reader() as reader:
        return int((await reader.execute(select(func.count()).select_from(CheckIn))).scalar_one())


class TestCheckIn:
    async def test_lets_the_holder_in_once(self, bookings: BookingsService) -> None:
        ada, ticket = await ticket_of(bookings)
        north, south = gate(bookings), gate(bookings, "South")

        first = await north.scan(ticket["code"], event_id=ticket["event_id"])
        bookings.run.clock.advance(60)
        second = await south.scan(ticket["code"])

        assert first.status_code == 201
        assert first.json() == {
            "check_in_id": first.json()["check_in_id"],
            "ticket_id": ticket["ticket_id"],
            "event_id": ticket["event_id"],
            "section": "Stalls",
            "seat": "1-A-12",
            "holder_name": "Ada",
            "gate": "North",
            "checked_in_at": NOW,
            "status": "ACTIVE",
            "undone_at": None,
            "undo_reason": None,
        }
        assert (second.status_code, second.json()["code"]) == (409, "already_checked_in")
        assert (second.json()["first_checked_in_at"], second.json()["gate"]) == (NOW, "North")
        (used,) = await ada.tickets()
        assert (used["status"], used["checked_in_at"]) == ("USED", NOW)
        assert Counter(each.event_type for each in await bookings.run.published())["ticket.checked_in"] == 1

    async def test_of_concurrent_scans_exactly_one_wins(self, bookings: BookingsService) -> None:
        _, ticket = await ticket_of(bookings)
        gates = [gate(bookings, f"Gate {number}") for number in range(8)]

        answers = await asyncio.gather(*(each.scan(ticket["code"]) for each in gates))

        assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 7}
        (winner,) = [answer.json() for answer in answers if answer.status_code == 201]
        assert {answer.json().get("gate") for answer in answers} == {winner["gate"]}
        assert await count_check_ins(bookings) == 1

    async def test_of_concurrent_scans_exactly_one_wins_whatever_their_times(self, bookings: BookingsService) -> None:
        _, ticket = await ticket_of(bookings)
        bookings.run.clock.advance(3600)
        moments = [f"2026-01-05T09:{minute}:00Z" for minute in (50, 40, 30, 20, 10)]

        answers = await asyncio.gather(
            *(gate(bookings).scan(ticket["code"], scanned_at=moment) for moment in (*moments, None))
        )
        late = await gate(bookings).scan(ticket["code"], scanned_at="2026-01-05T09:00:00Z")

        assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 5}
        assert late.status_code == 409

    async def test_the_same_scan_has_the_same_answer_also_at_the_same_time(self, bookings: BookingsService) -> None:
        ada, ticket = await ticket_of(bookings)
        north = gate(bookings)

        answers = await asyncio.gather(*(north.scan(ticket["code"], scan_id="n-1") for _ in range(4)))
        undone = await north.undo(answers[0].json()["check_in_id"])
        await void(bookings, ticket["booking_id"])
        later = await north.scan(ticket["code"], scan_id="n-1")

        assert [answer.status_code for answer in answers] == [201] * 4
        assert len({answer.content for answer in answers}) == 1
        assert (later.status_code, later.json()) == (201, undone.json())
        assert (await ada.tickets())[0]["status"] == "CANCELLED"

    async def test_an_idempotency_key_serves_as_id(self, embedded: BookingsService) -> None:
        show = ShowId.new()
        _, first = await ticket_of(embedded, show)
        _, second = await ticket_of(embedded, show)
        north, headers = gate(embedded), {"idempotency-key": "a key"}

        answers = [
            await gate_.caller.post("/check-ins", json={"code": code}, headers=headers)
            for gate_, code in (
                (north, first["code"]),
                (north, first["code"]),
                (north, second["code"]),
                (gate(embedded), second["code"]),
            )
        ]

        assert [answer.status_code for answer in answers] == [201, 201, 422, 201]
        assert answers[0].json() == answers[1].json()

    async def test_many_tickets_at_once_are_each_checked_in(self, bookings: BookingsService) -> None:
        ada = await person(bookings)
        await issue(bookings, ada.user_id, *(place(f"1-A-{number}") for number in range(1, 41)))
        tickets = (await ada.caller.get("/tickets?size=100")).json()["tickets"]
        codes = [ticket["code"] for ticket in tickets]

        answers = await asyncio.gather(*(gate(bookings).scan(code) for code in [*codes, "forged", *codes]))

        assert Counter(answer.status_code for answer in answers) == {201: 40, 404: 1, 409: 40}
        assert {ticket["status"] for ticket in (await ada.caller.get("/tickets?size=100")).json()["tickets"]} == {
            "USED"
        }
        assert await count_check_ins(bookings) == 40

    async def test_an_id_of_another_scan_is_422(self, embedded: BookingsService) -> None:
        show = ShowId.new()
        _, first = await ticket_of(embedded, show)
        _, second = await ticket_of(embedded, show)
        _, elsewhere = await ticket_of(embedded)
        north = gate(embedded)
        await north.scan(first["code"], scan_id="1")

        reused = await north.scan(second["code"], scan_id="1")
        other_show = await north.scan(elsewhere["code"], scan_id="1")

        assert (reused.status_code, reused.json()["code"]) == (422, "scan_id_reused")
        assert other_show.status_code == 201

    async def test_needs_the_permission(self, embedded: BookingsService) -> None:
        ada, ticket = await ticket_of(embedded)

        answer = await ada.caller.post("/check-ins", json={"code": ticket["code"]})

        assert (answer.status_code, answer.json()["permission"]) == (403, "check-ins:write")
        assert (await embedded.run.anonymous.post("/check-ins", json={"code": "x"})).status_code == 401

    async def test_a_scan_in_the_future_or_before_the_ticket_counts_as_one_of_now_or_of_then(
        self, embedded: BookingsService
    ) -> None:
        show = ShowId.new()
        _, first = await ticket_of(embedded, show)
        _, second = await ticket_of(embedded, show)

        future = await gate(embedded).scan(first["code"], scanned_at="2026-02-01T00:00:00Z")
        reset = await gate(embedded).scan(second["code"], scanned_at="0001-01-01T00:00:00Z")

        assert [answer.json()["checked_in_at"] for answer in (future, reset)] == [NOW, NOW]


class TestInvalidCodes:
    async def test_a_forged_code_is_unknown(self, bookings: BookingsService) -> None:
        _, ticket = await ticket_of(bookings)
        show, key = ShowId(ticket["event_id"]), SigningKey.generate("EdDSA")
        keys = bookings.run.context.resource(TicketKeys)
        (never_issued,) = await keys.sign([(show, new_serial())])
        changed = ("B" if ticket["code"][40] == "A" else "A").join((ticket["code"][:40], ticket["code"][41:]))

        for code in ("x", changed, TicketCode(1, show, new_serial()).sign(key), never_issued):
            answer = await gate(bookings).scan(code)
            assert (answer.status_code, answer.json()["code"]) == (404, "ticket_unknown")

    async def test_a_cancelled_ticket_is_refused_before_whether_it_was_used(self, bookings: BookingsService) -> None:
        _, ticket = await ticket_of(bookings)
        await gate(bookings).scan(ticket["code"])
        await void(bookings, ticket["booking_id"], is_final=True)

        answer = await gate(bookings).scan(ticket["code"], event_id=ShowId.new())

        assert (answer.status_code, answer.json()["code"]) == (409, "ticket_cancelled")

    async def test_a_code_from_before_a_transfer_is_refused_for_good(self, bookings: BookingsService) -> None:
        ada, ticket = await ticket_of(bookings)
        bob = await person(bookings, "Bob")
        offer = (await ada.offer(ticket["ticket_id"], bob.email)).json()
        new = (await bob.accept(offer["transfer_id"])).json()

        old = await gate(bookings).scan(ticket["code"])
        valid = await gate(bookings).scan(new["code"])
        again = await gate(bookings).scan(ticket["code"])

        assert [(each.status_code, each.json()["code"]) for each in (old, again)] == [(409, "code_replaced")] * 2
        assert (valid.status_code, valid.json()["holder_name"]) == (201, "Bob")

    async def test_a_ticket_of_another_show_is_refused(self, embedded: BookingsService) -> None:
        _, ticket = await ticket_of(embedded)

        answer = await gate(embedded).scan(ticket["code"], event_id=ShowId.new())

        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_event")
        assert answer.json()["ticket_event_id"] == ticket["event_id"]

    @pytest.mark.parametrize(
        "members",
        [
            {"code": ""},
            {"code": "a\nb"},
            {"code": None},
            {"code": "A", "scan_id": "a b"},
            {"code": "A", "scan_id": "x" * 65},
            {"code": "A", "gate": "x" * 65},
            {"code": "A", "scanned_at": "2026-01-05T09:00:00"},
            {"code": "A", "event_id": 0},
            {"code": "A", "colour": "red"},
        ],
    )
    async def test_invalid_members_are_422(self, embedded: BookingsService, members: dict[str, Any]) -> None:
        answer = await gate(embedded).caller.post("/check-ins", json=members)

        assert answer.status_code == 422


class TestUsedTickets:
    async def test_cannot_be_cancelled_or_transferred(self, embedded: BookingsService) -> None:
        ada, ticket = await ticket_of(embedded)
        await gate(embedded).scan(ticket["code"])

        offered = await ada.offer(ticket["ticket_id"], "bob@example.com")
        with pytest.raises(TicketUsed):
            await void(embedded, ticket["booking_id"])

        assert (offered.status_code, offered.json()["code"]) == (409, "ticket_used")

    async def test_an_offer_made_before_cannot_be_accepted(self, embedded: BookingsService) -> None:
        ada, ticket = await ticket_of(embedded)
        bob = await person(embedded, "Bob")
        offer = (await ada.offer(ticket["ticket_id"], bob.email)).json()
        await gate(embedded).scan(ticket["code"])

        answer = await bob.accept(offer["transfer_id"])

        assert (answer.status_code, answer.json()["code"]) == (409, "ticket_used")


class TestUndo:
    async def test_makes_the_ticket_valid_again_once(self, bookings: BookingsService) -> None:
        ada, ticket = await ticket_of(bookings)
        north = gate(bookings)
        check_in = (await north.scan(ticket["code"])).json()

        undone = [await north.undo(check_in["check_in_id"], reason) for reason in ("Left", "Again")]
        valid = (await ada.tickets())[0]
        again = await north.scan(ticket["code"])

        assert [answer.status_code for answer in undone] == [200, 200]
        assert (
            undone[0].json()
            == undone[1].json()
            == {
                **check_in,
                "status": "UNDONE",
                "undone_at": NOW,
                "undo_reason": "Left",
            }
        )
        assert (valid["status"], valid["checked_in_at"]) == ("VALID", None)
        assert again.status_code == 201

    async def test_a_repeat_does_not_undo_a_later_check_in(self, embedded: BookingsService) -> None:
        ada, ticket = await ticket_of(embedded)
        north = gate(embedded)
        first = (await north.scan(ticket["code"])).json()["check_in_id"]
        await north.undo(first)
        await north.scan(ticket["code"])

        await north.undo(first)

        assert (await ada.tickets())[0]["status"] == "USED"

    async def test_a_cancelled_ticket_stays_cancelled(self, embedded: BookingsService) -> None:
        ada, ticket = await ticket_of(embedded)
        check_in = (await gate(embedded).scan(ticket["code"])).json()
        await void(embedded, ticket["booking_id"], is_final=True)

        undone = await gate(embedded).undo(check_in["check_in_id"])

        assert undone.status_code == 200
        assert (await ada.tickets())[0]["status"] == "CANCELLED"

    async def test_of_an_unknown_check_in_is_404_and_needs_a_reason(self, embedded: BookingsService) -> None:
        unknown = await gate(embedded).undo(CheckInId.new())
        no_reason = await gate(embedded).undo(CheckInId.new(), " ")

        assert (unknown.status_code, unknown.json()["code"]) == (404, "check_in_not_found")
        assert no_reason.status_code == 422


class TestList:
    async def test_lists_the_check_ins_of_a_show_newest_first(self, bookings: BookingsService) -> None:
        ada, bob = await person(bookings), await person(bookings, "Bob")
        show = ShowId.new()
        for holder in (ada, bob):
            await issue(bookings, holder.user_id, event_id=show)
        north = gate(bookings)
        scanned = [(await north.scan((await holder.tickets())[0]["code"])).json() for holder in (ada, bob)]
        _, elsewhere = await ticket_of(bookings)
        await north.scan(elsewhere["code"])

        answer = await north.caller.get(f"/check-ins?event_id={show}")

        assert answer.json()["check_ins"] == scanned[::-1]
        assert answer.json()["page"]["total_elements"] == 2
        assert (await north.caller.get("/check-ins")).json()["page"]["total_elements"] == 3
        assert (await ada.caller.get("/check-ins")).status_code == 403
