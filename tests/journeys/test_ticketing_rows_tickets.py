"""The rows of tickets, transfers, check-ins, payments and notifications in ticketing, through its gateway."""

import secrets
from collections.abc import Mapping
from typing import Any

from tests.journeys.box_office import RunningBoxOffice, eventually_equal
from tests.journeys.rows import is_paged, refused, refuses_bodies, walked
from tests.journeys.test_ticketing_rows_bookings import book, moment, ticket_of

from portico.gateway_client import Response
from portico.ticketing_client import TicketingClient

TICKET_FIELDS = {
    "ticketId", "bookingId", "eventId", "code", "qr", "section", "seat", "holderName", "status", "checkedInAt",
}  # fmt: skip
CHECK_IN_FIELDS = {
    "checkInId", "ticketId", "eventId", "section", "seat", "holderName", "gate", "checkedInAt", "status", "undoneAt",
    "undoReason",
}  # fmt: skip
FORGED = "AEAA" + "A" * 132


class TestTickets:
    async def test_are_listed_and_shown_as_qr_codes(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show()
        booking = await book(office, office.ann, show_id, quantity=2)

        of_booking = await walked(office.ann, f"/api/bookings/{booking['bookingId']}/tickets", "tickets")
        own = await walked(office.ann, f"/api/tickets?eventId={show_id}", "tickets")
        ticket = own[0]

        assert sorted(each["ticketId"] for each in own) == sorted(each["ticketId"] for each in of_booking)
        assert ticket.keys() == TICKET_FIELDS
        assert (ticket["bookingId"], ticket["eventId"], ticket["section"]) == (booking["bookingId"], show_id, "Stalls")
        assert (ticket["holderName"], ticket["status"], ticket["checkedInAt"]) == ("ann", "VALID", None)
        assert {each["seat"] for each in own} == {each["seatId"] for each in booking["seats"]}
        assert await office.ann.get(f"/api/tickets/{ticket['ticketId']}") == ticket
        refused(await office.bob.request("GET", f"/api/tickets/{ticket['ticketId']}"), 404, "ticket_not_found")
        for wanted, media in (("svg", "image/svg+xml"), ("png", "image/png")):
            image = (await office.ann.request("GET", f"{ticket['qr']}?format={wanted}")).expect(200)
            assert image.headers["content-type"].startswith(media)
        assert (await office.ann.request("GET", f"{ticket['qr']}?format=gif")).status == 422
        await is_paged(office.ann, "/api/tickets", "tickets")


async def accepted(client: TicketingClient, transfer: Mapping[str, Any]) -> Response:
    """Accept a transfer, and repeat it as long as the account is too new to be known to bookings (503)."""
    path = f"/api/transfers/{transfer['transferId']}/accept"
    return await client.request_until_final("POST", path, key=secrets.token_hex(8))


class TestTransfers:
    async def test_only_the_named_address_accepts_and_the_code_is_new(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show()
        booking = await book(office, office.ann, show_id)
        ticket = await ticket_of(office.ann, booking)
        path = f"/api/tickets/{ticket['ticketId']}"

        offer = (await office.ann.request("POST", f"{path}/transfer", {"email": "bob@example.com"})).expect(201)
        transfer = offer.json()
        stranger = await office.account("stranger")
        refused(await accepted(stranger, transfer), 404, "transfer_not_found")
        twice = await office.ann.request("POST", f"{path}/transfer", {"email": "carl@example.com"})
        taken = (await accepted(office.bob, transfer)).expect(200).json()

        assert (transfer["status"], transfer["ticketId"]) == ("PENDING", ticket["ticketId"])
        assert moment(days=2.9) < transfer["expiresAt"] < moment(days=3)
        refused(twice, 409, "transfer_pending")
        assert taken.keys() == TICKET_FIELDS
        assert (taken["ticketId"], taken["seat"], taken["holderName"]) == (ticket["ticketId"], ticket["seat"], "bob")
        assert taken["code"] != ticket["code"]
        refused(await office.ann.request("GET", path), 404, "ticket_not_found")
        answer = await office.ann.request("POST", f"/api/bookings/{booking['bookingId']}/cancel", {})
        refused(answer, 409, "ticket_transferred", ticketId=ticket["ticketId"])
        scan = {"code": ticket["code"], "eventId": show_id}
        refused(await office.organizer.request("POST", "/api/check-ins", scan), 409, "code_replaced")
        (await office.organizer.request("POST", "/api/check-ins", {**scan, "code": taken["code"]})).expect(201)
        assert (await office.counts(show_id))["sold"] == 1

    async def test_an_offer_is_withdrawn(self, office: RunningBoxOffice) -> None:
        booking = await book(office, office.ann, office.show_id)
        ticket = await ticket_of(office.ann, booking)
        path = f"/api/tickets/{ticket['ticketId']}/transfer"
        transfer = (await office.ann.request("POST", path, {"email": "bob@example.com"})).expect(201).json()
        mine = f"/api/transfers/{transfer['transferId']}"

        assert (await office.ann.request_until_final("DELETE", mine)).status == 204
        refused(await accepted(office.bob, transfer), 409, "transfer_ended")
        refused(
            await office.bob.request_until_final("DELETE", "/api/transfers/xfer_nothing"), 404, "transfer_not_found"
        )
        await refuses_bodies(office.ann, path, [{"email": "nobody"}, {}, {"email": "ann@example.com"}])


class TestCheckIns:
    async def test_a_ticket_admits_once(self, office: RunningBoxOffice) -> None:
        show_id, other = await office.create_show(), await office.create_show()
        ticket = await ticket_of(office.ann, await book(office, office.ann, show_id))
        scan = {"code": ticket["code"], "eventId": show_id, "gate": "North", "scanId": "n-1"}
        post = office.organizer.request

        wrong = await post("POST", "/api/check-ins", {**scan, "eventId": other})
        first = (await post("POST", "/api/check-ins", scan)).expect(201)
        same = (await post("POST", "/api/check-ins", scan)).expect(201)
        second = await post("POST", "/api/check-ins", {**scan, "scanId": "n-2", "gate": "South"})

        admitted = first.json()
        refused(wrong, 409, "wrong_event")
        assert admitted.keys() == CHECK_IN_FIELDS
        assert (admitted["ticketId"], admitted["eventId"], admitted["seat"]) == (
            ticket["ticketId"], show_id, ticket["seat"],
        )  # fmt: skip
        assert (admitted["section"], admitted["holderName"], admitted["gate"]) == ("Stalls", "ann", "North")
        assert same.json() == admitted
        refused(second, 409, "already_checked_in", firstCheckedInAt=admitted["checkedInAt"], gate="North")
        refused(await post("POST", "/api/check-ins", {"code": FORGED}), 404, "ticket_unknown")
        assert (await office.ann.get(f"/api/tickets/{ticket['ticketId']}"))["status"] == "USED"
        await refuses_bodies(office.organizer, "/api/check-ins", [{}, {"code": "X", "colour": "red"}])
        path = f"/api/check-ins?eventId={show_id}"
        assert [each["checkInId"] for each in await walked(office.organizer, path, "checkIns")] == [
            admitted["checkInId"]
        ]
        await is_paged(office.organizer, path, "checkIns")

        undo = f"/api/check-ins/{admitted['checkInId']}/undo"
        await refuses_bodies(office.organizer, undo, [{}])
        undone = (await post("POST", undo, {"reason": "Comes back"})).expect(200).json()
        assert undone["undoReason"] == "Comes back"
        assert (await office.ann.get(f"/api/tickets/{ticket['ticketId']}"))["status"] == "VALID"
        (await post("POST", "/api/check-ins", {**scan, "scanId": "n-3"})).expect(201)
        refused(await post("POST", "/api/check-ins/chk_nothing/undo", {"reason": "x"}), 404, "check_in_not_found")

    async def test_the_earliest_scan_of_a_batch_wins(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show()
        booking = await book(office, office.ann, show_id, quantity=2)
        valid, cancelled = await office.tickets(office.ann, booking["bookingId"])
        cancel = f"/api/bookings/{booking['bookingId']}/cancel"
        (await office.ann.request("POST", cancel, {"ticketIds": [cancelled["ticketId"]]})).expect(200)
        scans = [
            {"scanId": "late", "code": valid["code"], "gate": "B", "scannedAt": moment(minutes=-1)},
            {"scanId": "early", "code": valid["code"], "gate": "A", "scannedAt": moment(minutes=-5)},
            {"scanId": "void", "code": cancelled["code"]},
            {"scanId": "fake", "code": FORGED},
        ]

        answer = await office.organizer.request("POST", "/api/check-ins/batch", {"scans": scans})
        results = {each["scanId"]: each for each in answer.expect(200).json()["results"]}

        assert [each["scanId"] for each in answer.json()["results"]] == ["late", "early", "void", "fake"]
        assert (results["early"]["status"], results["early"].get("code")) == (201, None)
        assert (results["late"]["status"], results["late"]["code"]) == (409, "already_checked_in")
        assert (results["void"]["status"], results["void"]["code"]) == (409, "ticket_cancelled")
        assert (results["fake"]["status"], results["fake"]["code"]) == (404, "ticket_unknown")
        many: list[dict[str, Any]] = [{"scanId": f"s{each}", "code": FORGED} for each in range(1001)]
        await refuses_bodies(
            office.organizer, "/api/check-ins/batch", [{"scans": many}, {"scans": []}, {"scans": [{"code": FORGED}]}]
        )
        manifest = await office.organizer.get(f"/api/check-ins/manifest?eventId={show_id}")
        assert {"keys", "revoked", "checkIns"} <= manifest.keys()
        assert {each["crv"] for each in manifest["keys"]} == {"Ed25519"}
        assert [each["reason"] for each in manifest["revoked"]]
        assert [each["gate"] for each in manifest["checkIns"] if each["status"] == "ACTIVE"] == ["A"]
        since = manifest["nextSince"].replace("+", "%2B")
        again = await office.organizer.get(f"/api/check-ins/manifest?eventId={show_id}&since={since}")
        assert again.keys() == manifest.keys()


class TestPaymentsAndMails:
    async def test_payments_are_the_callers_own_and_refunded_by_staff_of_payments(
        self, office: RunningBoxOffice
    ) -> None:
        show_id = await office.create_show()
        booking = await book(office, office.ann, show_id, quantity=2)
        (payment,) = await walked(office.ann, f"/api/bookings/{booking['bookingId']}/payments", "payments")
        path = f"/api/payments/{payment['paymentId']}"

        (own,) = [
            each
            for each in await office.ann.items("/api/payments", "payments")
            if each["bookingId"] == booking["bookingId"]
        ]

        assert (own["amount"], own["currency"], own["status"]) == (99, "USD", "succeeded")
        assert await office.bob.items("/api/payments", "payments") == []
        assert (await office.bob.request("GET", path)).status == 404
        assert (await office.ann.request("POST", f"{path}/refunds", {"amount": 1})).status == 403
        (await office.organizer.request("POST", f"{path}/refunds", {"amount": 1})).expect(201)
        assert (await office.ann.request("POST", "/api/payments", {})).status in {403, 404, 405}
        await is_paged(office.ann, "/api/payments", "payments")

    async def test_the_new_date_is_mailed_to_the_buyer_and_to_who_holds_a_ticket(
        self, office: RunningBoxOffice
    ) -> None:
        name = "Queen of the new date"
        show_id = await office.create_show(eventName=name)
        booking = await book(office, office.ann, show_id, quantity=2)
        holder = await office.account("holder")
        email = (await holder.get("/api/auth/me"))["email"]
        ticket = await ticket_of(office.ann, booking)
        offer = await office.ann.request("POST", f"/api/tickets/{ticket['ticketId']}/transfer", {"email": email})
        (await accepted(holder, offer.expect(201).json())).expect(200)

        new_date = {"eventDate": "2100-07-01T19:00:00Z"}
        (await office.organizer.request("PUT", f"/api/events/{show_id}", new_date)).expect(200)

        async def recipients() -> set[str]:
            mails = await office.organizer.items("/api/mailbox", "mailbox")
            found = {each["recipient"] for each in mails if each["subject"] == f"New date or venue: {name}"}
            return {each.partition("<")[2].rstrip(">") or each for each in found}

        await eventually_equal(recipients, {"ann@example.com", email})
