import zlib

import pytest
import segno
from tests.services.bookings.support import BookingsService, place
from tests.services.bookings.tickets.support import issue, issue_again, person, stranger, void

from portico.contracts.bookings import BookingId, TicketId
from portico.contracts.events import ShowId
from portico.contracts.identity import UserDeleted, UserUpdated
from portico.services.bookings.tickets.errors import TicketNotFound

SCALE, BORDER = 8, 4


class TestIssue:
    async def test_issues_one_ticket_per_place_and_repeats_none(self, bookings: BookingsService) -> None:
        ada = await person(bookings)
        booking = await issue(bookings, ada.user_id, place("1-A-1"), place("1-A-2"), place(None, section="Floor"))
        first = await ada.tickets()

        await issue_again(bookings, booking.booking_id)

        assert await ada.tickets() == first
        assert [(ticket["section"], ticket["seat"]) for ticket in first] == [
            ("Stalls", "1-A-1"),
            ("Stalls", "1-A-2"),
            ("Floor", None),
        ]
        assert len({ticket["code"] for ticket in first}) == 3
        events = await bookings.run.published()
        assert [(each.event_type, each.ticket_id) for each in events] == [  # type: ignore[attr-defined]
            ("ticket.issued", ticket["ticket_id"]) for ticket in first
        ]


class TestRead:
    async def test_returns_the_ticket_with_its_code_and_the_holders_name(self, bookings: BookingsService) -> None:
        ada = await person(bookings)
        booking = await issue(bookings, ada.user_id)
        (ticket,) = await ada.tickets()

        answer = await ada.caller.get(f"/tickets/{ticket['ticket_id']}")

        assert answer.status_code == 200
        assert answer.headers["etag"] == '"1"'
        assert (
            answer.json()
            == ticket
            == {
                "ticket_id": ticket["ticket_id"],
                "booking_id": booking.booking_id,
                "event_id": booking.event_id,
                "code": ticket["code"],
                "qr": f"/tickets/{ticket['ticket_id']}/qr",
                "section": "Stalls",
                "seat": "1-A-12",
                "holder_name": "Ada",
                "status": "VALID",
                "checked_in_at": None,
            }
        )

    async def test_the_name_follows_the_account(self, embedded: BookingsService) -> None:
        sam = stranger(embedded)
        await issue(embedded, sam.user_id)
        names = [(await sam.tickets())[0]["holder_name"]]

        for event in (
            UserUpdated(user_id=sam.user_id, email=sam.email, name="Samuel", is_active=True),
            UserUpdated(user_id=sam.user_id, email=sam.email, name="Samantha", is_active=True),
            UserDeleted(user_id=sam.user_id),
        ):
            await embedded.run.receives(event)
            names.append((await sam.tickets())[0]["holder_name"])

        assert names == [None, "Samuel", "Samantha", None]

    async def test_a_ticket_of_another_user_is_404_without_the_permission(self, embedded: BookingsService) -> None:
        ada, sam = await person(embedded), stranger(embedded)
        booking = await issue(embedded, ada.user_id)
        ticket_id = (await ada.tickets())[0]["ticket_id"]

        answers = [await sam.caller.get(f"/tickets/{ticket_id}{suffix}") for suffix in ("", "/qr")]
        of_booking = await sam.caller.get(f"/bookings/{booking.booking_id}/tickets")
        staff = await embedded.as_user("bookings:read").get(f"/tickets/{ticket_id}")

        assert [(each.status_code, each.json()["code"]) for each in answers] == [(404, "ticket_not_found")] * 2
        assert (of_booking.status_code, of_booking.json()["code"]) == (404, "booking_not_found")
        assert staff.status_code == 200
        assert await sam.tickets() == []

    async def test_lists_are_numbered_pages(self, embedded: BookingsService) -> None:
        ada = await person(embedded)
        booking = await issue(embedded, ada.user_id, *(place(f"1-A-{number}") for number in range(1, 4)))
        other = await issue(embedded, ada.user_id)

        of_booking = (await ada.caller.get(f"/bookings/{booking.booking_id}/tickets?size=2")).json()
        of_show = (await ada.caller.get(f"/tickets?event_id={other.event_id}")).json()

        assert [each["seat"] for each in of_booking["tickets"]] == ["1-A-3", "1-A-2"]
        assert of_booking["page"] == {"number": 0, "size": 2, "total_elements": 3, "total_pages": 2}
        assert [each["booking_id"] for each in of_show["tickets"]] == [other.booking_id]

    async def test_unknown_ids_are_404(self, embedded: BookingsService) -> None:
        ada = stranger(embedded)

        for path in (f"/tickets/{TicketId.new()}", "/tickets/17", f"/bookings/{BookingId.new()}/tickets"):
            assert (await ada.caller.get(path)).status_code == 404


class TestQrCode:
    async def test_svg_and_png_show_the_code(self, embedded: BookingsService) -> None:
        ada = await person(embedded)
        await issue(embedded, ada.user_id)
        (ticket,) = await ada.tickets()

        svg, png = [await ada.caller.get(ticket["qr"] + query) for query in ("", "?format=png")]

        expected = segno.make_qr(ticket["code"], error="m")
        assert svg.headers["content-type"] == "image/svg+xml"
        drawn = expected.svg_inline(scale=SCALE, border=BORDER, light="white", omitsize=True)
        assert drawn[drawn.index("<g") :].encode() in svg.content
        assert png.headers["content-type"] == "image/png"
        assert modules_of(png.content) == [[bool(dark) for dark in row] for row in expected.matrix]
        assert "no-store" in svg.headers["cache-control"]

    async def test_another_format_is_422(self, embedded: BookingsService) -> None:
        ada = await person(embedded)
        await issue(embedded, ada.user_id)

        answer = await ada.caller.get((await ada.tickets())[0]["qr"] + "?format=gif")

        assert answer.status_code == 422


class TestVoid:
    async def test_voids_the_named_tickets_once(self, bookings: BookingsService) -> None:
        ada = await person(bookings)
        booking = await issue(bookings, ada.user_id, place("1-A-1"), place("1-A-2"))
        first, second = [ticket["ticket_id"] for ticket in await ada.tickets()]

        voided = [await void(bookings, booking.booking_id, ids) for ids in ([first], [first], None)]

        assert voided == [[first], [], [second]]
        assert [ticket["status"] for ticket in await ada.tickets()] == ["CANCELLED", "CANCELLED"]
        cancelled = [each for each in await bookings.run.published() if each.event_type == "ticket.cancelled"]
        assert [each.ticket_id for each in cancelled] == [first, second]  # type: ignore[attr-defined]

    async def test_a_ticket_of_another_booking_is_refused(self, embedded: BookingsService) -> None:
        ada = await person(embedded)
        booking, other = [await issue(embedded, ada.user_id) for _ in range(2)]
        ids = [ticket["ticket_id"] for ticket in await ada.tickets() if ticket["booking_id"] == other.booking_id]

        with pytest.raises(TicketNotFound):
            await void(embedded, booking.booking_id, ids)


class TestSoldPlaces:
    async def test_lists_live_tickets_of_a_show_for_services(self, bookings: BookingsService) -> None:
        ada = await person(bookings)
        show = ShowId.new()
        booking = await issue(bookings, ada.user_id, place("1-A-1"), place(None, section="Floor"), event_id=show)
        gone = await issue(bookings, ada.user_id, place("1-A-3"), event_id=show)
        await issue(bookings, ada.user_id)
        await void(bookings, gone.booking_id)
        seating = bookings.run.as_service("seating")
        seat, standing = [t["ticket_id"] for t in await ada.tickets() if t["booking_id"] == booking.booking_id]

        all_places = (await seating.get(f"/bookings/places?event_id={show}")).json()
        second = (await seating.get(f"/bookings/places?event_id={show}&after={seat}&limit=1")).json()

        ids = {"booking_id": booking.booking_id, "hold_id": booking.hold_id}
        assert all_places == [
            {"ticket_id": seat, **ids, "section": "Stalls", "seat_id": "1-A-1"},
            {"ticket_id": standing, **ids, "section": "Floor", "seat_id": None},
        ]
        assert second == all_places[1:]
        assert (await bookings.staff.get(f"/bookings/places?event_id={show}")).status_code == 403


def modules_of(png: bytes) -> list[list[bool]]:
    """Return the modules of a QR code in a PNG of one bit per pixel, without the quiet zone."""
    width, height = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
    assert png[24:26] == b"\x01\x00", "one bit per pixel, greyscale"
    start = png.index(b"IDAT") + 4
    raw = zlib.decompress(png[start : start + int.from_bytes(png[start - 8 : start - 4])])
    stride = 1 + (width + 7) // 8
    lines = [bytes(stride - 1)]
    for row in range(height):
        kind, *line = raw[row * stride : (row + 1) * stride]
        assert kind in {0, 2}, "filters None and Up"
        lines.append(bytes((each + above * (kind == 2)) & 255 for each, above in zip(line, lines[-1], strict=True)))
    del lines[0]
    middle = range(BORDER * SCALE + SCALE // 2, width - BORDER * SCALE, SCALE)
    return [[not lines[y][x // 8] >> (7 - x % 8) & 1 for x in middle] for y in middle]
