"""The rows of auth, gateway and events in the ticketing system, through its gateway."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from tests.journeys.box_office import SHOW, RunningBoxOffice, eventually_equal
from tests.journeys.rows import is_paged, refused, refuses_bodies, walked
from tests.journeys.shop import PASSWORD

SHOW_FIELDS = {
    "eventId", "eventName", "eventDate", "localTime", "venueName", "timeZone", "totalSeats", "availableSeats", "status",
    "saleStartTime", "saleEndTime", "price", "currency", "description", "category", "sections", "maxSeatsPerUser",
    "orphanRule", "waitingRoom", "cancellableUntil", "refundPercent", "fullRefundUntil", "createdAt", "updatedAt",
}  # fmt: skip
SERVICES = ("auth", "events", "inventory", "bookings", "search", "payments", "notifications")


class TestAuth:
    async def test_registers_signs_in_reads_and_refreshes(self, office: RunningBoxOffice) -> None:
        account = {"email": "rows@example.com", "password": PASSWORD, "name": "Rose Rows"}
        post = office.anonymous.request

        made = (await post("POST", "/api/auth/register", account)).expect(201, email="rows@example.com")
        again = await post("POST", "/api/auth/register", account)
        signed_in = (await post("POST", "/api/auth/login", {k: account[k] for k in ("email", "password")})).expect(200)
        wrong = await post("POST", "/api/auth/login", {"email": "rows@example.com", "password": "another one"})
        session = signed_in.json()
        headers = {"authorization": f"Bearer {session['accessToken']}"}
        me = (await post("GET", "/api/auth/me", headers=headers)).expect(200)
        refreshed = await post("POST", "/api/auth/refresh", {"refreshToken": session["refreshToken"]})

        assert made.json()["name"] == "Rose Rows"
        assert made.json()["roles"] == ["attendee"]
        refused(again, 409, "email_taken")
        assert (session["tokenType"], session["expiresIn"]) == ("bearer", 3600)
        assert session["user"] == made.json() == me.json()
        assert wrong.status == 401
        assert refreshed.expect(200, expiresIn=3600).json()["accessToken"] != session["accessToken"]
        head = session["accessToken"].split(".")[0]
        assert orjson.loads(base64.urlsafe_b64decode(head + "=="))["alg"] == "EdDSA"

    async def test_needs_a_token_to_tell_who_the_caller_is(self, office: RunningBoxOffice) -> None:
        answer = await office.anonymous.request("GET", "/api/auth/me")

        refused(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


class TestGateway:
    async def test_is_healthy_with_all_services(self, office: RunningBoxOffice) -> None:
        health = (await office.anonymous.request("GET", "/health")).expect(200, status="healthy").json()

        assert health["services"] == dict.fromkeys(SERVICES, True)

    async def test_describes_itself(self, office: RunningBoxOffice) -> None:
        expected = {
            "/api/auth/me",
            "/api/events/{eventId}/waitlist/me",
            "/api/inventory/{eventId}/holds",
            "/api/queue/{eventId}/ledger",
            "/api/bookings/{bookingId}/timeline",
            "/api/tickets/{ticketId}/qr",
            "/api/transfers/{transferId}/accept",
            "/api/check-ins/batch",
            "/api/search/rebuild/{rebuildId}",
            "/api/payments",
            "/api/notifications",
        }

        async def described() -> bool:
            # A service that is slow at its first description is described by a later document.
            return expected <= set((await office.anonymous.get("/openapi.json"))["paths"])

        await eventually_equal(described, True)
        for path in ("/docs", "/redoc", "/metrics"):
            assert (await office.anonymous.request("GET", path)).status == 200
        internal = ("layout", "/users/{userId}/holds", "/bookings/totals", "/inventory/availability")
        paths = (await office.anonymous.get("/openapi.json"))["paths"]
        assert not [path for path in paths if any(each in path for each in internal)]

    async def test_answers_every_method(self, office: RunningBoxOffice) -> None:
        path = f"/api/events/{office.show_id}"
        head = (await office.anonymous.request("HEAD", path)).expect(200)
        options = await office.anonymous.request("OPTIONS", path)
        patch = await office.organizer.request("PATCH", path, {})

        assert (head.content, head.headers["etag"][:1]) == (b"", '"')
        for answer in (options, patch):
            assert answer.status == 405
            assert answer.headers["allow"] == "DELETE, GET, HEAD, PUT"
        refused(await office.anonymous.request("GET", "/api/nothing"), 404, "not_found")

    async def test_lets_the_usual_origins_in(self, office: RunningBoxOffice) -> None:
        asked = {"origin": "http://localhost:3000", "access-control-request-method": "PUT"}
        allowed = await office.anonymous.request("OPTIONS", f"/api/events/{office.show_id}", headers=asked)
        foreign = await office.anonymous.request("GET", "/api/events", headers={"origin": "http://evil.example"})

        assert allowed.status in {200, 204}
        assert allowed.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert allowed.headers["access-control-allow-credentials"] == "true"
        assert "access-control-allow-origin" not in foreign.headers

    async def test_traces_requests_and_repeats_them_by_key(self, office: RunningBoxOffice) -> None:
        traced = await office.anonymous.request("GET", "/api/events", headers={"x-request-id": "rows-1"})
        first = await office.organizer.request("POST", "/api/events", SHOW, key="rows-key")
        again = await office.organizer.request("POST", "/api/events", SHOW, key="rows-key")
        other = await office.organizer.request("POST", "/api/events", {**SHOW, "eventName": "Other"}, key="rows-key")

        assert traced.headers["x-request-id"] == "rows-1"
        assert first.expect(201).content == again.expect(201).content
        assert other.status == 422

    async def test_is_for_roles(self, office: RunningBoxOffice) -> None:
        scanner = await office.account("scanner", "scanner")
        organizer = await office.account("organizer", "organizer")
        show = f"/api/inventory/{office.show_id}"
        needs = {
            ("POST", "/api/events"): "events:write",
            ("PUT", f"/api/events/{office.show_id}"): "events:write",
            ("PUT", f"/api/events/{office.show_id}/status"): "events:write",
            ("DELETE", f"/api/events/{office.show_id}"): "events:write",
            ("GET", f"/api/events/{office.show_id}/outbox"): "events:write",
            ("GET", f"/api/events/{office.show_id}/waitlist"): "inventory:read",
            ("PUT", f"{show}/blocks"): "inventory:write",
            ("POST", f"{show}/codes"): "inventory:write",
            ("GET", f"{show}/codes"): "inventory:write",
            ("DELETE", f"{show}/codes/X"): "inventory:write",
            ("GET", f"{show}/seats/1-A-1/history"): "inventory:read",
            ("GET", f"{show}/reconcile"): "inventory:read",
            ("GET", f"/api/bookings/summary?eventId={office.show_id}"): "bookings:read",
            ("POST", "/api/search/rebuild"): "search:write",
            ("GET", "/api/ledger/reconcile"): "payments:read",
        }
        gates = {("POST", "/api/check-ins"), ("POST", "/api/check-ins/batch"), ("GET", "/api/check-ins")}

        for (method, path), permission in (needs | dict.fromkeys(gates, "check-ins:write")).items():
            body = {} if method in {"POST", "PUT"} else None
            unknown = await office.anonymous.request(method, path, body)
            answer = await office.ann.request(method, path, body)
            assert unknown.status == 401, path
            refused(answer, 403, "permission_missing", permission=permission)
            of_scanner = await scanner.request(method, path, body)
            assert (of_scanner.status == 403) == ((method, path) not in gates), path
        for method, path in needs.keys() - {("DELETE", f"/api/events/{office.show_id}")}:
            body = {} if method in {"POST", "PUT"} else None
            answer = await organizer.request(method, path, body)
            assert answer.status not in {401, 403}, (path, answer.text(200))


class TestEvents:
    async def test_an_event_has_the_given_fields_and_defaults(self, office: RunningBoxOffice) -> None:
        minimal = {name: SHOW[name] for name in ("eventName", "eventDate", "venueName", "totalSeats")}
        full = {
            **SHOW,
            "status": "UPCOMING",
            "eventDate": "2100-07-01T19:00:00+02:00",
            "saleStartTime": "2099-01-01T10:00:00+01:00",
            "saleEndTime": "2100-06-30T00:00:00Z",
            "timeZone": "Europe/Berlin",
            "currency": "EUR",
            "description": "One night only",
            "category": "Rock",
            "sections": [
                {"name": "Stalls", "rows": 2, "seatsPerRow": 5, "price": 79.5, "accessible": ["A-1"]},
                {"name": "Floor", "capacity": 2},
            ],
            "maxSeatsPerUser": 3,
            "orphanRule": "REFUSE",
            "waitingRoom": "AUTO",
            "cancellableUntil": "2100-06-01T00:00:00Z",
            "refundPercent": 80,
        }

        first = (await office.organizer.request("POST", "/api/events", minimal)).expect(201)
        second = (await office.organizer.request("POST", "/api/events", full)).expect(201)

        made, rich = first.json(), second.json()
        assert made.keys() == rich.keys() == SHOW_FIELDS
        assert first.headers["location"] == f"/api/events/{made['eventId']}"
        assert isinstance(made["eventId"], int)
        assert 0 < made["eventId"] < 2**53
        assert (made["status"], made["price"], made["currency"]) == ("UPCOMING", 0, "USD")
        assert (made["timeZone"], made["orphanRule"], made["waitingRoom"]) == ("UTC", "AVOID", "OFF")
        assert made["availableSeats"] == 12
        assert made["saleEndTime"] == made["cancellableUntil"] == made["eventDate"] == SHOW["eventDate"]
        (general,) = made["sections"]
        assert (general["name"], general["capacity"], general["rows"]) == ("General", 12, None)
        assert rich["eventDate"] == "2100-07-01T17:00:00Z"
        assert rich["localTime"] == "2100-07-01T19:00:00+02:00"
        assert rich["saleStartTime"] == "2099-01-01T09:00:00Z"
        for name in full.keys() - {"eventDate", "saleStartTime", "sections"}:
            assert rich[name] == full[name], name
        assert [each["name"] for each in rich["sections"]] == ["Stalls", "Floor"]
        assert rich["sections"][0]["accessible"] == ["A-1"]
        read = await office.anonymous.request("GET", f"/api/events/{rich['eventId']}")
        assert read.json() == rich
        unchanged = {"if-none-match": read.headers["etag"]}
        assert (
            await office.anonymous.request("GET", f"/api/events/{rich['eventId']}", headers=unchanged)
        ).status == 304

    async def test_bad_drafts_are_refused(self, office: RunningBoxOffice) -> None:
        seated = {"name": "Stalls", "rows": 2, "seatsPerRow": 6}
        wrong: list[dict[str, Any]] = [
            *({"totalSeats": each} for each in (0, -1, 1.5, 200_001, 13)),
            {"eventDate": "2100-03-01T19:00:00"},
            {"timeZone": "Europe/Atlantis"},
            {"status": "CANCELLED"},
            {"status": "OPEN"},
            {"colour": "red"},
            {"price": -1},
            {"sections": [seated, seated], "totalSeats": 24},
            {"saleStartTime": SHOW["eventDate"]},
            {"saleStartTime": "2100-02-02T00:00:00Z", "saleEndTime": "2100-02-01T00:00:00Z"},
        ]

        await refuses_bodies(office.organizer, "/api/events", [{**SHOW, **each} for each in wrong])
        past = await office.organizer.request("POST", "/api/events", {**SHOW, "eventDate": "2001-01-01T00:00:00Z"})
        past.expect(201)
        for path in ("/api/events/1", "/api/events/abc", f"/api/events/{2**70}", "/api/inventory/1"):
            refused(await office.anonymous.request("GET", path), 404, "event_not_found")

    async def test_lists_and_filters(self, office: RunningBoxOffice) -> None:
        venue = "Zénith Nord"
        dates = ("2090-05-01T22:30:00Z", "2090-05-02T10:00:00Z", "2090-05-03T10:00:00Z")
        common = {"venueName": venue, "category": "Jazz", "timeZone": "Europe/Berlin", "status": "UPCOMING"}
        ids = [await office.organizer.create_show({**SHOW, **common, "eventDate": each}) for each in reversed(dates)]

        async def found(query: str) -> list[int]:
            return [each["eventId"] for each in await walked(office.anonymous, f"/api/events?{query}", "events")]

        assert await found("venue=nord") == ids[::-1]
        assert await found("category=jazz&venue=zenith") == ids[::-1]
        assert await found("venue=nord&status=ON_SALE") == []
        assert await found("venue=nord&dateFrom=2090-05-02T10:00:00Z&dateTo=2090-05-03T10:00:00Z") == [ids[1]]
        assert await found("venue=nord&dateFrom=2090-05-02&dateTo=2090-05-02") == [ids[2], ids[1]]
        await is_paged(office.anonymous, "/api/events?venue=nord", "events")
        for wrong in ("status=OPEN", "dateFrom=soon", "dateFrom=2090-05-02T10:00:00", "colour=red"):
            assert (await office.anonymous.request("GET", f"/api/events?{wrong}")).status == 422, wrong

    async def test_changes_are_all_or_nothing(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show()
        path = f"/api/events/{show_id}"
        before = await office.anonymous.request("GET", path)

        await refuses_bodies(office.organizer, path, [{"eventName": "New", "refundPercent": 101}], method="PUT")
        stale = {"if-match": '"77"'}
        refused(await office.organizer.request("PUT", path, {"price": 1}, headers=stale), 412, "precondition_failed")
        assert (await office.anonymous.get(path))["eventName"] == "Queen"
        changed = await office.organizer.request(
            "PUT", path, {"event_name": "New", "price": 60}, headers={"if-match": before.headers["etag"]}
        )
        changed.expect(200, eventName="New", price=60)
        moved = await office.organizer.request("PUT", path, {"venueName": "Elsewhere"})
        until = datetime.fromisoformat(moved.expect(200).json()["fullRefundUntil"])
        assert timedelta(days=13.9) < until - datetime.now(UTC) < timedelta(days=14)

    async def test_the_hall_grows_and_never_below_what_is_used(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show()
        path = f"/api/events/{show_id}"
        hold = await office.ann.take_hold(show_id, {"seats": ["1-B-6"]})
        stalls = {"name": "Stalls", "rows": 2, "seatsPerRow": 6}

        smaller = await office.organizer.request("PUT", path, {"sections": [{**stalls, "rows": 1}]})
        larger = await office.organizer.request("PUT", path, {"sections": [stalls, {"name": "Floor", "capacity": 8}]})

        hold.expect(201)
        refused(smaller, 409, "seats_in_use", section="Stalls", used=1, seats=["1-B-6"])
        larger.expect(200, totalSeats=20, availableSeats=19)
        assert await office.counts(show_id) == {"available": 19, "held": 1, "sold": 0, "blocked": 0}
        refused(await office.organizer.request("DELETE", path), 409, "event_in_use")

    async def test_an_unused_event_is_deleted_and_its_records_stay(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show()
        path = f"/api/events/{show_id}"
        (await office.organizer.request("PUT", f"{path}/status", {"status": "SOLD_OUT"})).expect(200)

        assert (await office.organizer.request("DELETE", path)).status == 204
        refused(await office.anonymous.request("GET", path), 404, "event_not_found")
        records = await walked(office.organizer, f"{path}/outbox", "records")
        assert [each["eventType"] for each in records] == ["EVENT_CREATED", "EVENT_STATUS_CHANGED", "EVENT_DELETED"]
        assert records[0].keys() == {
            "aggregateId", "aggregateType", "eventType", "payload", "processed", "createdAt",
        }  # fmt: skip
        assert {each["aggregateType"] for each in records} == {"EVENT"}
        assert {each["aggregateId"] for each in records} == {str(show_id)}
        await is_paged(office.organizer, f"{path}/outbox", "records")
