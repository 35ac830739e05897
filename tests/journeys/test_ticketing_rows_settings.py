"""The settings of ticketing, through its gateway: each system here has other ones."""

import base64
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.gateway.proxy.servers import bound, served
from tests.journeys.box_office import RunningBoxOffice, eventually_equal, run_box_office
from tests.journeys.rows import BACKENDS, office_on, refused
from tests.journeys.shop import ADMIN, SETTINGS

from portico.gateway_client import GatewayClient, HttpTransport
from portico.kit.settings import Environment
from portico.systems.composition import Composition
from portico.systems.ticketing import ticketing
from portico.testing.clock import ShiftedClock
from portico.ticketing_client import TicketingClient

MINUTE = 60

SHORT = {
    "HOLD_EXPIRES_IN": "2m",
    "MAX_SEATS_PER_USER": "2",
    "PAYMENT_TRIES": "1",
    "BOOKING_DEADLINE": "1m",
    "PAYMENTS_SIMULATED_SETTLEMENT": "1h",
    "WAITLIST_OFFER_EXPIRES_IN": "1m",
    "WAITING_ROOM_SHOPPERS": "1",
    "WAITING_ROOM_OPENS": "1d",
    "ADMISSION_EXPIRES_IN": "1m",
    "TRANSFER_EXPIRES_IN": "1h",
    "RATE_LIMIT_HOLDS": "4/minute",
}
DOCUMENTED = {
    "PASSWORD_HASH": "bcrypt",
    "JWT_ALGORITHM": "HS256",
    "JWT_SECRET_KEY": "a secret of the document that is long enough",
    "JWT_EXPIRATION_MINUTES": "30",
    "PUBLIC_READS": "false",
}


@pytest.fixture(scope="module")
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture(scope="module", params=BACKENDS)
async def short(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, clock: ShiftedClock
) -> AsyncIterator[RunningBoxOffice]:
    async with office_on(request, tmp_path_factory.mktemp("short"), clock=clock, **SHORT) as office:
        yield office


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documented")


@pytest.fixture(scope="module")
async def documented(folder: Path) -> AsyncIterator[RunningBoxOffice]:
    async with run_box_office({**DOCUMENTED, "DATA_DIR": str(folder)}) as office:
        yield office


async def one_row(office: RunningBoxOffice, seats: int, **changed: Any) -> int:
    sections = [{"name": "Row", "rows": 1, "seatsPerRow": seats}]
    return await office.create_show(totalSeats=seats, sections=sections, **changed)


def _kinds_of_hashes(folder: Path) -> set[str]:
    kinds: set[str] = set()
    for path in folder.rglob("*auth*.db"):
        with closing(sqlite3.connect(path)) as database:
            kinds |= {row[0][:3] for row in database.execute("SELECT password_hash FROM users")}
    return kinds


class TestShortTimes:
    async def test_a_hold_ends_by_itself(self, short: RunningBoxOffice, clock: ShiftedClock) -> None:
        show_id, buyer = await one_row(short, 4), await short.account("buyer")
        hold = (await buyer.take_hold(show_id, {"quantity": 2})).expect(201).json()
        path = f"/api/inventory/{show_id}/holds/{hold['holdId']}"

        clock.advance(2 * MINUTE + 1)
        await eventually_equal(lambda: short.counts(show_id), {"available": 4, "held": 0, "sold": 0, "blocked": 0})

        assert (await buyer.get(path))["status"] == "EXPIRED"
        refused(await buyer.book({"eventId": show_id, "holdId": hold["holdId"]}), 409, "hold_expired")

    async def test_the_limit_and_the_rate_of_holds(self, short: RunningBoxOffice) -> None:
        show_id, buyer = await one_row(short, 4), await short.account("buyer")
        path = f"/api/inventory/{show_id}/holds"

        answers = [await buyer.request("POST", path, {"quantity": 3}) for _ in range(5)]

        for each in answers[:4]:
            refused(each, 409, "seat_limit_reached", limit=2, held=0, booked=0)
        assert answers[4].status == 429
        assert {"retry-after", "ratelimit", "ratelimit-policy"} <= answers[4].headers.keys()

    async def test_the_last_try_to_pay_releases_the_hold(self, short: RunningBoxOffice) -> None:
        show_id, buyer = await one_row(short, 4), await short.account("buyer")
        hold = (await buyer.take_hold(show_id, {"quantity": 1})).expect(201).json()
        draft = {"eventId": show_id, "holdId": hold["holdId"], "paymentMethod": "pm_declined"}
        made = (await buyer.book(draft)).expect(201).json()

        assert (await buyer.wait_for_outcome(made["bookingId"]))["failureReason"] == "payment_declined"
        path = f"/api/inventory/{show_id}/holds/{hold['holdId']}"
        assert (await buyer.get(path))["status"] == "RELEASED"

    async def test_a_booking_without_outcome_expires(self, short: RunningBoxOffice, clock: ShiftedClock) -> None:
        show_id, buyer = await one_row(short, 4), await short.account("buyer")
        draft = {"eventId": show_id, "quantity": 1, "paymentMethod": "pm_slow"}
        made = (await buyer.book(draft)).expect(201).json()

        clock.advance(MINUTE + 1)
        assert (await buyer.wait_for_outcome(made["bookingId"]))["status"] == "EXPIRED"
        assert (await short.counts(show_id))["available"] == 4

    async def test_an_offer_that_is_not_booked_goes_to_the_next(
        self, short: RunningBoxOffice, clock: ShiftedClock
    ) -> None:
        show_id = await one_row(short, 1)
        path = f"/api/events/{show_id}/waitlist"
        draft = {"eventId": show_id, "quantity": 1, "userId": short.bob.user_id, "paymentMethod": "comp"}
        made = (await short.organizer.book(draft)).expect(201).json()
        await short.organizer.wait_for_outcome(made["bookingId"])
        first, second = await short.account("first"), await short.account("second")
        for who in (first, second):
            (await who.request("POST", path, {})).expect(201)

        (await short.organizer.request("POST", f"/api/bookings/{made['bookingId']}/cancel", {})).expect(200)

        async def statuses() -> list[str]:
            return [str((await who.get(f"{path}/me"))["status"]) for who in (first, second)]

        await eventually_equal(statuses, ["OFFERED", "WAITING"])
        clock.advance(MINUTE + 1)
        await eventually_equal(statuses, ["LAPSED", "OFFERED"])
        clock.advance(MINUTE + 1)
        await eventually_equal(statuses, ["LAPSED", "LAPSED"])

    async def test_a_waiting_room_opens_as_early_as_the_setting_says(self, short: RunningBoxOffice) -> None:
        starts = datetime.now(UTC) + timedelta(hours=20)
        show_id, buyer = await one_row(short, 4, waitingRoom="ON", saleStartTime=starts.isoformat()), short.ann

        (await buyer.request("POST", f"/api/queue/{show_id}")).expect(201, status="WAITING")

    async def test_an_admission_ends_by_itself(self, short: RunningBoxOffice, clock: ShiftedClock) -> None:
        show_id = await one_row(short, 4, waitingRoom="ON")
        path = f"/api/queue/{show_id}"
        first, second = await short.account("first"), await short.account("second")
        for who in (first, second):
            (await who.request("POST", path)).expect(201)

        async def status(who: TicketingClient) -> str:
            return str((await who.get(path))["status"])

        await eventually_equal(lambda: status(first), "ADMITTED")
        assert await status(second) == "WAITING"
        token = (await first.get(path))["admissionToken"]
        clock.advance(MINUTE + 1)
        await eventually_equal(lambda: status(second), "ADMITTED")
        refused(await first.take_hold(show_id, {"quantity": 1}, admission=token), 403, "admission_required")

    async def test_a_transfer_lasts_as_long_as_the_setting_says(self, short: RunningBoxOffice) -> None:
        show_id = await one_row(short, 2)
        draft = {"eventId": show_id, "quantity": 1, "userId": short.ann.user_id, "paymentMethod": "comp"}
        made = (await short.organizer.book(draft)).expect(201).json()
        await short.organizer.wait_for_outcome(made["bookingId"])
        (ticket,) = await short.tickets(short.ann, made["bookingId"])

        path = f"/api/tickets/{ticket['ticketId']}/transfer"
        transfer = (await short.ann.request("POST", path, {"email": "bob@example.com"})).expect(201).json()

        lasting = datetime.fromisoformat(transfer["expiresAt"]) - datetime.fromisoformat(transfer["createdAt"])
        assert lasting == timedelta(hours=1)


class TestAsInTheDocument:
    async def test_all_of_events_wants_a_token(self, documented: RunningBoxOffice) -> None:
        show = f"/api/events/{documented.show_id}"
        paths = ("/api/events", show, f"{show}/outbox", f"{show}/waitlist/me", "/api/search")
        inventory = (f"/api/inventory/{documented.show_id}", f"/api/inventory/{documented.show_id}/seats")

        for path in (*paths, *inventory):
            refused(await documented.anonymous.request("GET", path), 401, "unauthorized")
            assert (await documented.ann.request("GET", path)).status in {200, 403, 404}, path
        (await documented.ann.request("GET", show)).expect(200, eventName="Queen")
        for method in ("POST", "PUT", "DELETE"):
            answer = await documented.anonymous.request(method, "/api/events" if method == "POST" else show, {})
            assert answer.status == 401

    async def test_tokens_are_hs256_and_last_as_long_as_the_setting_says(self, documented: RunningBoxOffice) -> None:
        answer = await documented.anonymous.request("POST", "/api/auth/login", ADMIN)
        session = answer.expect(200, expiresIn=1800, tokenType="bearer").json()
        head, body, _ = [base64.urlsafe_b64decode(part + "==") for part in session["accessToken"].split(".")]
        refreshed = await documented.anonymous.request(
            "POST", "/api/auth/refresh", {"refreshToken": session["refreshToken"]}
        )

        assert orjson.loads(head)["alg"] == "HS256"
        claims = orjson.loads(body)
        assert claims["exp"] - claims["iat"] == 1800
        refreshed.expect(200, expiresIn=1800)
        assert (await documented.anonymous.get("/.well-known/jwks.json")) == {"keys": []}

    async def test_passwords_are_hashed_with_bcrypt(self, documented: RunningBoxOffice, folder: Path) -> None:
        assert _kinds_of_hashes(folder) == {"$2b"}

    async def test_a_purchase_works(self, documented: RunningBoxOffice) -> None:
        made = (await documented.ann.book({"eventId": documented.show_id, "quantity": 2})).expect(201).json()

        assert (await documented.ann.wait_for_outcome(made["bookingId"]))["status"] == "CONFIRMED"


class TestGatewayWithoutServices:
    async def test_is_degraded_and_limits_requests(self, tmp_path: Path) -> None:
        with bound() as listener:
            unused_address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        absent = ("AUTH", "EVENTS", "INVENTORY", "BOOKINGS", "PAYMENTS", "NOTIFICATIONS")
        variables = {**SETTINGS, "DATA_DIR": str(tmp_path), "RATE_LIMIT": "100/minute"}
        variables |= {f"{name}_SERVICE_URL": unused_address for name in absent}
        async with (
            Composition(ticketing, Environment(variables), parts=["gateway", "search"]) as part,
            served(part.apps["gateway"]) as address,
            HttpTransport(f"http://{address}") as transport,
        ):
            client: GatewayClient = TicketingClient(transport)
            health = (await client.request("GET", "/health")).expect(503, status="degraded").json()
            answers = [await client.request("GET", "/api/search") for _ in range(101)]
            still = await client.request("GET", "/health/ready")

        assert health["services"] == {**{name.lower(): False for name in absent}, "search": True}
        assert {each.status for each in answers[:100]} == {200}
        assert answers[0].headers["ratelimit-policy"] == '"default";q=100;w=60'
        assert answers[100].status == 429
        assert int(answers[100].headers["retry-after"]) > 0
        assert still.status == 200
