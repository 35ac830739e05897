"""The rows of search and of the status of events in the ticketing system, through its gateway."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from tests.journeys.box_office import SHOW, RunningBoxOffice, eventually_equal
from tests.journeys.rows import refused, walked

from portico.ticketing_client import TicketingClient

FOUND_FIELDS = {
    "eventId", "eventName", "eventDate", "venueName", "status", "price", "currency", "category", "highlights", "score",
}  # fmt: skip
CATALOGUE: dict[str, dict[str, Any]] = {
    "aria": {"eventName": "Arianna <Live>", "venueName": "Théâtre Royal", "category": "Opera", "price": 120},
    "rock": {"eventName": "Thunderbirds", "venueName": "Royal Arena", "category": "Rock", "status": "UPCOMING"},
    "late": {"eventName": "Thunderbirds", "venueName": "New York Hall", "category": "Rock", "price": 20},
    "talk": {"eventName": "An Evening", "venueName": "Library", "description": "About thunderbirds & more"},
}
DATES = {"aria": "2090-05-01", "rock": "2090-05-02", "late": "2090-06-03", "talk": "2090-06-04"}


@pytest.fixture(scope="module")
async def ids(office: RunningBoxOffice) -> dict[str, int]:
    """Return the ids of the shows of the catalogue once search has all of them."""
    made: dict[str, int] = {}
    for name, fields in CATALOGUE.items():
        made[name] = await office.organizer.create_show({**SHOW, **fields, "eventDate": f"{DATES[name]}T19:00:00Z"})

    async def are_found() -> bool:
        found = await office.anonymous.items("/api/search", "events")
        return {*made.values(), office.show_id} <= {each["eventId"] for each in found}

    await eventually_equal(are_found, True)
    return made


async def found(office: RunningBoxOffice, query: str, **filters: str) -> list[int]:
    more = "".join(f"&{name}={quote(value)}" for name, value in filters.items())
    page = await office.anonymous.get(f"/api/search?q={quote(query)}{more}")
    return [each["eventId"] for each in page["events"]]


class TestWords:
    async def test_case_accents_prefixes_quotes_and_typos(self, office: RunningBoxOffice, ids: dict[str, int]) -> None:
        aria, rock, late, talk = (ids[name] for name in ("aria", "rock", "late", "talk"))

        assert await found(office, "ARIANNA theatre") == [aria]
        assert await found(office, "arian") == [aria]  # the last word may be incomplete
        assert await found(office, "thunderbirds") == [late, rock, talk]  # name, on sale, description last
        assert await found(office, "thudnerbirds") == [late, rock, talk]  # a swap
        assert await found(office, "thndrbirds") == [late, rock, talk]  # two typos in nine letters
        assert await found(office, "libary") == [talk]
        assert await found(office, "hunderbirds") == []  # the first letter must be right
        assert await found(office, '"new york"') == [late]
        assert await found(office, '"york new"') == []
        assert (await office.anonymous.get("/api/search?q=thunderbirds"))["relaxed"] is False
        relaxed = await office.anonymous.get("/api/search?q=thunderbirds%20opera%20library%20nothing")
        assert relaxed["relaxed"] is True
        assert [each["eventId"] for each in relaxed["events"]] == [talk]

    async def test_odd_queries_are_never_an_error(self, office: RunningBoxOffice, ids: dict[str, int]) -> None:
        for odd in ("%", "<script>", "'\" OR 1=1", "\\", "*", "_", '"', "a" * 200, "NEAR(", "東京"):
            answer = await office.anonymous.request("GET", f"/api/search?q={quote(odd)}")
            assert answer.status == 200, (odd, answer.text(200))
        assert (await office.anonymous.request("GET", f"/api/search?q={'a' * 201}")).status == 422
        assert (await office.anonymous.request("GET", "/api/search?q=%00")).status == 400  # NUL
        for wrong in ("status=OPEN", "maxPrice=-1", "dateFrom=soon", "size=101", "colour=red"):
            assert (await office.anonymous.request("GET", f"/api/search?{wrong}")).status == 422, wrong

    async def test_a_found_event_has_highlights_and_an_explanation(
        self, office: RunningBoxOffice, ids: dict[str, int]
    ) -> None:
        (plain,) = (await office.anonymous.get("/api/search?q=arianna"))["events"]
        page = await office.anonymous.get("/api/search?q=thunderbrids&explain=true")
        best, *_, worst = page["events"]

        assert plain.keys() == FOUND_FIELDS
        assert plain["highlights"] == {"eventName": "<em>Arianna</em> &lt;Live&gt;"}
        assert (plain["eventId"], plain["price"], plain["category"]) == (ids["aria"], 120, "Opera")
        assert best.keys() == FOUND_FIELDS | {"explanation"}
        (term,) = best["explanation"]["terms"]
        assert (term["field"], term["word"], term["match"], term["typos"]) == ("event_name", "thunderbirds", "typo", 1)
        assert worst["explanation"]["terms"][0]["field"] == "description"
        assert worst["highlights"] == {"description": "About <em>thunderbirds</em> &amp; more"}
        assert best["score"] > worst["score"]


class TestFilters:
    async def test_narrow_the_list_and_a_facet_counts_without_its_own(
        self, office: RunningBoxOffice, ids: dict[str, int]
    ) -> None:
        rock, late = ids["rock"], ids["late"]

        assert await found(office, "thunderbirds", category="ROCK") == [late, rock]
        assert await found(office, "thunderbirds", venue="royal") == [rock]
        assert await found(office, "thunderbirds", status="UPCOMING") == [rock]
        assert await found(office, "thunderbirds", maxPrice="20") == [late]
        assert await found(office, "thunderbirds", dateFrom="2090-05-02", dateTo="2090-05-02") == [rock]
        assert await found(office, "thunderbirds", dateTo="2090-05-02T19:00:00Z") == []
        page = await office.anonymous.get("/api/search?q=thunderbirds&status=UPCOMING")
        assert page.keys() == {"events", "page", "facets", "relaxed"}
        assert page["facets"] == {
            "status": {"ON_SALE": 2, "UPCOMING": 1},
            "category": {"Rock": 1},
            "venueName": {"Royal Arena": 1},
            "month": {"2090-05": 1},
        }

    async def test_pages_show_nothing_twice(self, office: RunningBoxOffice, ids: dict[str, int]) -> None:
        shows = [each["eventId"] for each in await walked(office.anonymous, "/api/search", "events", size=2)]

        assert len(set(shows)) == len(shows)
        assert {*ids.values(), office.show_id} <= set(shows)
        past = await office.anonymous.get("/api/search?q=thunderbirds&page=50&size=2")
        assert past["events"] == []
        assert past["page"] == {"number": 50, "size": 2, "totalElements": 3, "totalPages": 2}


class TestIndex:
    async def test_follows_changes_of_events(self, office: RunningBoxOffice, ids: dict[str, int]) -> None:
        show_id = await office.organizer.create_show({**SHOW, "eventName": "Zebrafish"})
        await eventually_equal(lambda: found(office, "zebrafish"), [show_id])
        (await office.organizer.request("PUT", f"/api/events/{show_id}", {"eventName": "Kingfisher"})).expect(200)
        await eventually_equal(lambda: found(office, "kingfisher"), [show_id])
        assert await found(office, "zebrafish") == []
        assert (await office.organizer.request("DELETE", f"/api/events/{show_id}")).status == 204
        await eventually_equal(lambda: found(office, "kingfisher"), [])

    async def test_is_rebuilt_beside_the_live_one(self, office: RunningBoxOffice, ids: dict[str, int]) -> None:
        made = (await office.organizer.request("POST", "/api/search/rebuild")).expect(202)
        path = made.headers["location"]
        assert path == f"/api/search/rebuild/{made.json()['rebuildId']}"
        assert "status" in made.json()

        async def status() -> str:
            return str((await office.organizer.get(path))["status"])

        await eventually_equal(status, "COMPLETED")
        assert await found(office, "arianna") == [ids["aria"]]
        refused(await office.organizer.request("GET", "/api/search/rebuild/none"), 404, "rebuild_not_found")
        refused(await office.ann.request("GET", path), 403, "permission_missing", permission="search:write")


def later(**spans: float) -> str:
    return (datetime.now(UTC) + timedelta(**spans)).isoformat().replace("+00:00", "Z")


async def status_of(office: RunningBoxOffice, show_id: int) -> str:
    return str((await office.anonymous.get(f"/api/events/{show_id}"))["status"])


class TestStatus:
    async def test_the_status_changes_as_the_table_says(self, office: RunningBoxOffice) -> None:
        legal = {
            "UPCOMING": ["ON_SALE", "CANCELLED"],
            "ON_SALE": ["SOLD_OUT", "CANCELLED"],
            "SOLD_OUT": ["CANCELLED"],
            "CANCELLED": [],
        }
        show_id = await office.create_show(status="UPCOMING")
        path = f"/api/events/{show_id}"

        for current, wanted in legal.items():
            if current != "UPCOMING":
                (await office.organizer.request("PUT", f"{path}/status", {"status": current})).expect(200)
            same = await office.organizer.request("PUT", f"{path}/status", {"status": current})
            same.expect(200, status=current)
            for other in ("UPCOMING", "ON_SALE", "SOLD_OUT", "CANCELLED", "COMPLETED"):
                if other not in {current, *wanted}:
                    answer = await office.organizer.request("PUT", f"{path}/status", {"status": other})
                    refused(answer, 409, "illegal_transition", current=current, wanted=other, legal=wanted)
        refused(await office.organizer.request("PUT", path, {"price": 1}), 409, "event_ended")
        types = [each["eventType"] for each in await office.organizer.items(f"{path}/outbox", "records")]
        assert types == ["EVENT_CREATED", *["EVENT_STATUS_CHANGED"] * 3]

    async def test_a_past_event_is_completed_and_a_sold_out_one_reopened(self, office: RunningBoxOffice) -> None:
        past = await office.create_show(eventDate=later(hours=-1))
        sold_out = await office.create_show()
        put = office.organizer.request
        await put("PUT", f"/api/events/{sold_out}", {"status": "SOLD_OUT"})

        (await put("PUT", f"/api/events/{past}/status", {"status": "COMPLETED"})).expect(200)
        refused(await put("PUT", f"/api/events/{sold_out}/status", {"status": "ON_SALE"}), 409, "illegal_transition")
        again = await put("PUT", f"/api/events/{sold_out}/status", {"status": "ON_SALE", "reopen": True})
        again.expect(200, status="ON_SALE")

    async def test_the_sale_opens_by_itself(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show(status="UPCOMING", saleStartTime=later(seconds=1))

        await eventually_equal(lambda: status_of(office, show_id), "ON_SALE")

    async def test_sold_out_and_back_by_itself(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show(totalSeats=1, sections=[{"name": "Box", "rows": 1, "seatsPerRow": 1}])
        draft = {"eventId": show_id, "quantity": 1, "paymentMethod": "pm_ok"}
        made = (await office.ann.book(draft)).expect(201).json()
        await office.ann.wait_for_outcome(made["bookingId"])

        await eventually_equal(lambda: status_of(office, show_id), "SOLD_OUT")
        (await office.ann.request("POST", f"/api/bookings/{made['bookingId']}/cancel", {})).expect(200)
        await eventually_equal(lambda: status_of(office, show_id), "ON_SALE")

    async def test_sold_out_by_hand_stays_and_offers_nothing_until_it_is_reopened(
        self, office: RunningBoxOffice
    ) -> None:
        show_id = await office.create_show(totalSeats=1, sections=[{"name": "Box", "rows": 1, "seatsPerRow": 1}])
        path, waitlist = f"/api/events/{show_id}", f"/api/events/{show_id}/waitlist"
        hold = (await office.ann.take_hold(show_id, {"quantity": 1})).expect(201).json()
        (await office.bob.request("POST", waitlist, {})).expect(201, status="WAITING")
        (await office.organizer.request("PUT", f"{path}/status", {"status": "SOLD_OUT"})).expect(200)

        async def refusal() -> str:
            return str((await office.ann.take_hold(show_id, {"quantity": 1})).json()["code"])

        await eventually_equal(refusal, "sold_out")  # inventory knows of it
        await office.ann.request("DELETE", f"/api/inventory/{show_id}/holds/{hold['holdId']}")
        free = {"available": 1, "held": 0, "sold": 0, "blocked": 0}
        assert await office.counts(show_id) == free
        assert (await office.bob.get(f"{waitlist}/me"))["status"] == "WAITING"
        assert await status_of(office, show_id) == "SOLD_OUT"

        (await office.organizer.request("PUT", f"{path}/status", {"status": "ON_SALE", "reopen": True})).expect(200)

        async def offered() -> str:
            return str((await office.bob.get(f"{waitlist}/me"))["status"])

        async def mailed() -> bool:
            found = await office.bob.items("/api/notifications", "notifications")
            return "waitlist-offer" in {each["template"] for each in found}

        await eventually_equal(offered, "OFFERED")
        await eventually_equal(mailed, True)

    async def test_a_cancelled_show_releases_holds_and_ends_bookings_that_are_paid(
        self, office: RunningBoxOffice
    ) -> None:
        show_id = await office.create_show()
        hold = (await office.ann.take_hold(show_id, {"quantity": 1})).expect(201).json()
        draft = {"eventId": show_id, "quantity": 2, "paymentMethod": "pm_slow"}
        made = (await office.bob.book(draft)).expect(201).json()

        await office.organizer.request("PUT", f"/api/events/{show_id}/status", {"status": "CANCELLED"})

        async def status(who: TicketingClient, path: str) -> str:
            return str((await who.get(path))["status"])

        await eventually_equal(
            lambda: status(office.ann, f"/api/inventory/{show_id}/holds/{hold['holdId']}"), "RELEASED"
        )
        path = f"/api/bookings/{made['bookingId']}"
        await office.bob.wait_for_outcome(made["bookingId"])
        if await status(office.bob, path) != "FAILED":  # it was paid before the show was cancelled
            await eventually_equal(lambda: status(office.bob, path), "CANCELLED")
        else:
            assert (await office.bob.get(path))["failureReason"] == "event_cancelled"
        await eventually_equal(lambda: office.counts(show_id), {"available": 12, "held": 0, "sold": 0, "blocked": 0})

        async def kept() -> float:
            payments = await office.bob.items(f"{path}/payments", "payments")
            return sum(each["amount"] - each["refunded"] for each in payments if each["status"] == "succeeded")

        await eventually_equal(kept, 0)
