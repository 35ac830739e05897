import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import orjson
import pytest
from tests.services.seating.support import SeatingService, open_seating

from portico.contracts.events import ShowId, ShowStatusChanged
from portico.contracts.seating import HoldId, SeatsSold
from portico.gateway.upstreams.base import UpstreamRequest
from portico.gateway.upstreams.local import LocalUpstream
from portico.kit import UserId
from portico.services.seating import service
from portico.services.seating.admission import Admissions
from portico.services.seating.holds.expiry import HoldExpiry
from portico.services.seating.queue.rooms import WaitingRooms
from portico.services.seating.queue.writer import open_queue_writer
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, Caller, run_service

TIMEOUT = 60.0
SHOPPERS = 2


@pytest.fixture
async def seating(databases: Databases) -> AsyncIterator[SeatingService]:
    """Seating with room for two shoppers, on SQLite, PostgreSQL and MariaDB."""
    async with open_seating(databases, WAITING_ROOM_SHOPPERS=str(SHOPPERS)) as seating:
        yield seating


@pytest.fixture
async def embedded(sqlite_databases: Databases) -> AsyncIterator[SeatingService]:
    """Seating with room for two shoppers, on SQLite only."""
    async with open_seating(sqlite_databases, WAITING_ROOM_SHOPPERS=str(SHOPPERS)) as seating:
        yield seating


def id_of(name: str) -> UserId:
    return UserId(f"user_{int.from_bytes(name.encode()):026}")


def user(seating: SeatingService, name: str = "a") -> Caller:
    return seating.run.as_user(subject=id_of(name))


async def join(seating: SeatingService, show_id: ShowId, name: str = "a") -> dict[str, Any]:
    answer = await user(seating, name).post(f"/queue/{show_id}")
    assert answer.status_code in {200, 201}, answer.content
    found: dict[str, Any] = answer.json()
    return found


async def place(seating: SeatingService, show_id: ShowId, name: str = "a") -> dict[str, Any]:
    found: dict[str, Any] = (await user(seating, name).get(f"/queue/{show_id}")).json()
    return found


async def leave(seating: SeatingService, show_id: ShowId, name: str = "a") -> Answer:
    return await user(seating, name).delete(f"/queue/{show_id}")


async def pass_time(seating: SeatingService, seconds: float) -> None:
    """Advance the clock and let the waiting rooms be processed."""
    seating.run.clock.advance(seconds)
    await seating.run.context.resource(WaitingRooms).run_once()


async def ledger(seating: SeatingService, show_id: ShowId) -> list[dict[str, Any]]:
    """Return the whole ledger, as anyone can read it."""
    records: list[dict[str, Any]] = []
    path = f"/queue/{show_id}/ledger?size=100"
    while path:
        answer = await seating.run.anonymous.get(path)
        assert answer.status_code == 200, answer.content
        records.extend(answer.json()["entries"])
        assert answer.json()["page"]["total_elements"] >= len(records)
        links = [each for each in answer.headers["link"].split(", ") if each.endswith('rel="next"')]
        path = links[0][1 : links[0].index(">")] if links else ""
    return records


def assert_proves_the_order(show_id: ShowId, records: list[dict[str, Any]]) -> None:
    """Check the chain of hashes, and that no user was admitted before one who had joined earlier and still waited."""
    before = hashlib.sha256(f"queue {show_id}".encode()).hexdigest()
    waiting: list[int] = []
    for each in records:
        members = [each["number"], each["joined_at"], each["admitted_at"] or "-", each["left_at"] or "-"]
        before = hashlib.sha256("\n".join([before, *map(str, members)]).encode()).hexdigest()
        assert each["hash"] == before
        if each["admitted_at"] is not None:
            assert waiting.pop(0) == each["number"]
        elif each["left_at"] is not None:
            waiting.remove(each["number"])
        else:
            assert not waiting or waiting[-1] < each["number"]
            waiting.append(each["number"])


class TestJoining:
    async def test_who_comes_first_is_admitted_and_the_others_wait(self, seating: SeatingService) -> None:
        show = await seating.show(waiting_room="ON")

        first, second, third, fourth = [await join(seating, show, name) for name in "abcd"]

        assert (first["number"], first["position"], first["status"]) == (1, 0, "ADMITTED")
        assert first["admission_token"]
        assert first["estimated_seconds"] == 0
        assert second["status"] == "ADMITTED"
        assert (third["number"], third["position"], third["status"]) == (3, 1, "WAITING")
        assert (third["admission_token"], third["admitted_until"]) == (None, None)
        assert fourth["position"] == 2
        assert fourth["estimated_seconds"] > third["estimated_seconds"] > 0

    async def test_who_joins_again_keeps_the_place(self, seating: SeatingService) -> None:
        show = await seating.show(waiting_room="ON")
        first = [await join(seating, show, name) for name in "abcd"]

        again = await user(seating, "d").post(f"/queue/{show}")

        assert (again.status_code, again.json()) == (200, first[3])
        assert await place(seating, show, "a") == first[0]

    async def test_without_joining_there_is_no_place(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON")

        answer = await user(embedded).get(f"/queue/{show}")

        assert (answer.status_code, answer.json()["code"]) == (404, "not_in_queue")

    @pytest.mark.parametrize("method", ["POST", "GET"])
    async def test_of_an_unknown_show_is_not_found(self, embedded: SeatingService, method: str) -> None:
        answer = await user(embedded).request(method, "/queue/17")

        assert (answer.status_code, answer.json()["code"]) == (404, "event_not_found")

    async def test_needs_a_caller(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON")

        assert (await embedded.run.anonymous.post(f"/queue/{show}")).status_code == 401

    async def test_concurrent_callers_get_places_in_the_order_that_the_ledger_proves(
        self, seating: SeatingService
    ) -> None:
        show = await seating.show(waiting_room="ON")
        names = [f"n{number}" for number in range(60)]
        async with open_queue_writer(seating.run.context) as other:  # as in another process

            async def through_other(name: str) -> int:
                entry, _ = await other.join(show, id_of(name))
                return entry.number

            async def through_api(name: str) -> int:
                return int((await join(seating, show, name))["number"])

            tasks = [(through_api, through_other)[place % 2](name) for place, name in enumerate(names)]
            numbers = await asyncio.gather(*tasks, *(through_api(name) for name in names[:20]))

        assert sorted(set(numbers)) == list(range(1, 61))
        assert len({*zip(names, numbers, strict=False)}) == 60
        for name in names[10:20]:
            await leave(seating, show, name)
        for _ in range(5):
            await pass_time(seating, 601)
        records = await ledger(seating, show)
        assert_proves_the_order(show, records)
        assert sum(each["admitted_at"] is not None for each in records) >= 2 * 6 - 2


class TestAdmission:
    async def test_the_next_is_admitted_when_one_leaves(self, seating: SeatingService) -> None:
        show = await seating.show(waiting_room="ON")
        for name in "abcd":
            await join(seating, show, name)

        assert (await leave(seating, show, "a")).status_code == 204

        assert (await place(seating, show, "c"))["status"] == "ADMITTED"
        assert (await place(seating, show, "d"))["position"] == 1
        assert (await join(seating, show, "a"))["position"] == 2

    async def test_the_next_is_admitted_when_one_has_bought(self, seating: SeatingService) -> None:
        show = await seating.show(waiting_room="ON")
        for name in "abc":
            await join(seating, show, name)

        sold = SeatsSold(event_id=show, hold_id=HoldId.new(), user_id=id_of("b"), quantity=1, seats=())
        await seating.run.receives(sold, sold)

        assert (await user(seating, "b").get(f"/queue/{show}")).status_code == 404
        assert (await place(seating, show, "c"))["status"] == "ADMITTED"

    async def test_the_next_is_admitted_when_an_admission_lapses(self, seating: SeatingService) -> None:
        show = await seating.show(waiting_room="ON")
        for name in "abcde":
            await join(seating, show, name)

        await pass_time(seating, 599)
        assert (await place(seating, show, "c"))["status"] == "WAITING"
        await pass_time(seating, 2)

        assert [(await place(seating, show, name))["status"] for name in "cde"] == ["ADMITTED", "ADMITTED", "WAITING"]
        assert (await user(seating, "a").get(f"/queue/{show}")).status_code == 404

    async def test_who_leaves_while_waiting_makes_room_for_those_behind(self, seating: SeatingService) -> None:
        show = await seating.show(waiting_room="ON")
        for name in "abcdef":
            await join(seating, show, name)

        await leave(seating, show, "d")
        assert [(await place(seating, show, name))["position"] for name in "cef"] == [1, 2, 3]
        await leave(seating, show, "a")
        await leave(seating, show, "b")

        assert [(await place(seating, show, name))["status"] for name in "cef"] == ["ADMITTED", "ADMITTED", "WAITING"]
        assert_proves_the_order(show, await ledger(seating, show))

    async def test_opens_before_the_sale_and_admits_when_it_starts(self, embedded: SeatingService) -> None:
        starts = embedded.run.clock.now() + timedelta(hours=1)
        show = await embedded.show(waiting_room="ON", status="UPCOMING", sale_start_time=starts)

        early = await user(embedded).post(f"/queue/{show}")
        assert (early.status_code, early.json()["code"]) == (409, "queue_not_open")
        assert early.json()["opens_at"] == (starts - timedelta(minutes=15)).isoformat().replace("+00:00", "Z")
        await pass_time(embedded, 46 * 60)
        waiting = [await join(embedded, show, name) for name in "abc"]
        assert {each["status"] for each in waiting} == {"WAITING"}
        assert waiting[0]["estimated_seconds"] >= 14 * 60
        await pass_time(embedded, 15 * 60)
        assert (await place(embedded, show, "a"))["status"] == "WAITING"
        await embedded.change(show, ShowStatusChanged, status="ON_SALE", previous_status="UPCOMING")
        await pass_time(embedded, 1)

        assert [(await place(embedded, show, name))["status"] for name in "abc"] == ["ADMITTED", "ADMITTED", "WAITING"]

    async def test_a_sale_that_is_over_has_no_queue(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON")
        for name in "abc":
            await join(embedded, show, name)
        await embedded.change(show, ShowStatusChanged, status="CANCELLED", previous_status="ON_SALE")
        await pass_time(embedded, 1)

        assert {(await user(embedded, name).get(f"/queue/{show}")).status_code for name in "abc"} == {404}
        answer = await user(embedded, "d").post(f"/queue/{show}")
        assert (answer.status_code, answer.json()["code"]) == (409, "sale_closed")

    async def test_a_sold_out_show_cannot_be_queued_for(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON", status="SOLD_OUT")

        answer = await user(embedded).post(f"/queue/{show}")

        assert (answer.status_code, answer.json()["code"]) == (409, "sold_out")

    async def test_without_a_waiting_room_all_are_admitted_at_once(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="OFF")

        assert [(await join(embedded, show, name))["status"] for name in "abcd"] == ["ADMITTED"] * 4

    async def test_all_who_wait_are_admitted_when_it_is_switched_off(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON")
        for name in "abcde":
            await join(embedded, show, name)

        await embedded.change(show, waiting_room="OFF")
        await pass_time(embedded, 1)

        assert {(await place(embedded, show, name))["status"] for name in "abcde"} == {"ADMITTED"}


class GuardedShow:
    """What a hold knows of its show."""

    def __init__(self, show_id: ShowId, waiting_room: Any = "ON", sale_starts_at: Any = None) -> None:
        self.show_id = show_id
        self.waiting_room = waiting_room
        self.sale_starts_at = sale_starts_at


class TestTokens:
    async def test_admits_its_user_to_its_show_until_its_end(self, embedded: SeatingService) -> None:
        admissions = embedded.run.context.resource(Admissions)
        show = await embedded.show(waiting_room="ON")
        token = (await join(embedded, show, "a"))["admission_token"]
        now = embedded.run.clock.now()
        end, _, mac = token.partition(".")

        def admits(token: str, show_id: ShowId = show, name: str = "a", later: int = 0) -> bool:
            return admissions.is_valid(token, show_id, id_of(name), now + timedelta(seconds=later))

        assert admits(token)
        assert admits(token, later=599)
        assert not admits(token, later=601)
        assert not admits(token, name="b")
        assert not admits(token, show_id=ShowId.new())
        forged = [
            "",
            ".",
            end,
            f"{end}.",
            f".{mac}",
            f"{int(end) + 1}.{mac}",
            f"{end}.{mac[::-1]}",
            f"{end}.é",
            "9" * 200,
        ]
        assert not any(admits(each) for each in forged)

    async def test_is_the_same_at_every_read_and_in_every_process(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON")
        token = (await join(embedded, show, "a"))["admission_token"]

        assert (await place(embedded, show, "a"))["admission_token"] == token

    async def test_auto_needs_admission_only_while_users_wait(self, seating: SeatingService) -> None:
        admissions = seating.run.context.resource(Admissions)
        show = await seating.show(waiting_room="AUTO")
        now = seating.run.clock.now()
        guarded = GuardedShow(show, "AUTO")
        for name in "ab":
            assert (await join(seating, show, name))["status"] == "ADMITTED"
        await pass_time(seating, 1)
        assert not admissions.is_on(guarded, now)

        assert (await join(seating, show, "c"))["status"] == "WAITING"
        await pass_time(seating, 1)
        assert admissions.is_on(guarded, now)

        await leave(seating, show, "c")
        await pass_time(seating, 1)
        assert not admissions.is_on(guarded, now)

    async def test_are_needed_while_the_room_is_on_and_the_sale_has_begun(self, embedded: SeatingService) -> None:
        admissions, now = embedded.run.context.resource(Admissions), embedded.run.clock.now()

        def is_on(mode: str, starts_in: int) -> bool:
            return admissions.is_on(GuardedShow(ShowId(1), mode, now + timedelta(hours=starts_in)), now)

        assert (is_on("ON", -1), is_on("ON", 1), is_on("OFF", -1)) == (True, False, False)


class TestLedger:
    async def test_is_public_and_pages_through(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON")
        for number in range(70):
            await join(embedded, show, f"n{number}")

        answer = await embedded.run.anonymous.get(f"/queue/{show}/ledger?page=1&size=30")

        assert answer.json()["page"] == {"number": 1, "size": 30, "total_elements": 72, "total_pages": 3}
        assert len(answer.json()["entries"]) == 30
        records = await ledger(embedded, show)
        assert len(records) == 72
        assert_proves_the_order(show, records)

    async def test_names_no_user(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON")
        await join(embedded, show, "secret name")

        assert id_of("secret name").encode() not in (await embedded.run.anonymous.get(f"/queue/{show}/ledger")).content

    async def test_a_changed_record_breaks_the_chain(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON")
        for name in "abc":
            await join(embedded, show, name)
        records = await ledger(embedded, show)
        records[1]["number"] = 3

        with pytest.raises(AssertionError):
            assert_proves_the_order(show, records)

    async def test_of_an_unknown_show_is_not_found(self, embedded: SeatingService) -> None:
        assert (await embedded.run.anonymous.get("/queue/17/ledger")).status_code == 404


class Stream:
    """An open stream of a user's place."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    async def event(self) -> Any:
        """Return the next event: its data, or its type if that is not `message`."""
        while b"\n\n" not in self._rest:
            self._rest += await anext(self._chunks)
        event, _, self._rest = self._rest.partition(b"\n\n")
        lines = dict(line.split(": ", 1) for line in event.decode().splitlines())
        return lines.get("event") or orjson.loads(lines["data"])

    async def is_at_its_end(self) -> bool:
        return await anext(self._chunks, None) is None


@asynccontextmanager
async def streamed(seating: SeatingService, show_id: ShowId, name: str) -> AsyncIterator[Stream]:
    run = seating.run
    upstream = LocalUpstream(run.context.name, run.channel._apps[run.context.name])
    token = run.issuer.token(id_of(name))
    headers = [(b"accept", b"text/event-stream"), (b"authorization", f"Bearer {token}".encode())]
    async with asyncio.timeout(TIMEOUT):
        request = UpstreamRequest("GET", f"/queue/{show_id}".encode(), b"", headers, TIMEOUT)
        response = await upstream.send(request, set())
        assert (response.status, dict(response.headers)[b"content-type"]) == (200, b"text/event-stream")
        yield Stream(response.chunks())
    await response.aclose()
    await upstream.aclose()


class TestStreams:
    async def test_show_each_place_until_it_is_admitted(self, seating: SeatingService) -> None:
        show = await seating.show(waiting_room="ON")
        for name in "abcde":
            await join(seating, show, name)
        async with AsyncExitStack() as stack:
            third, fourth = [await stack.enter_async_context(streamed(seating, show, name)) for name in "cd"]
            assert await third.event() == await place(seating, show, "c")
            assert (await fourth.event())["position"] == 2

            await leave(seating, show, "a")
            await pass_time(seating, 1)

            admitted = await third.event()
            assert (admitted["status"], admitted["position"]) == ("ADMITTED", 0)
            assert admitted == await place(seating, show, "c")

    async def test_end_when_the_user_leaves(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON")
        for name in "abc":
            await join(embedded, show, name)
        async with streamed(embedded, show, "c") as stream:
            await stream.event()
            await leave(embedded, show, "c")
            await pass_time(embedded, 1)

            assert await stream.event() == "ended"
            assert await stream.is_at_its_end()

    async def test_end_when_the_show_is_cancelled_or_the_admission_is_over(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON")
        for name in "abc":
            await join(embedded, show, name)
        async with streamed(embedded, show, "a") as first, streamed(embedded, show, "c") as third:
            await first.event()
            await third.event()
            await pass_time(embedded, 601)
            assert await first.event() == "ended"
            assert (await third.event())["status"] == "ADMITTED"
            await embedded.change(show, ShowStatusChanged, status="CANCELLED", previous_status="ON_SALE")
            await pass_time(embedded, 1)

            assert await third.event() == "ended"

    async def test_of_a_user_who_has_not_joined_are_not_found(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON")

        answer = await user(embedded).get(f"/queue/{show}", headers={"accept": "text/event-stream"})

        assert answer.status_code == 404


class TestHolds:
    async def hold(self, seating: SeatingService, show_id: ShowId, name: str, token: str | None = None) -> Answer:
        headers = {} if token is None else {"x-admission-token": token}
        return await user(seating, name).post(f"/inventory/{show_id}/holds", json={"quantity": 1}, headers=headers)

    async def test_need_the_token_of_their_user_while_the_room_is_on(self, seating: SeatingService) -> None:
        show = await seating.show(waiting_room="ON")
        token = (await join(seating, show, "a"))["admission_token"]

        refused = [
            await self.hold(seating, show, name, sent) for name, sent in (("a", None), ("b", token), ("a", "1.x"))
        ]
        taken = await self.hold(seating, show, "a", token)

        assert {(each.status_code, each.json()["code"]) for each in refused} == {(403, "admission_required")}
        assert taken.status_code == 201

    async def test_that_a_service_takes_need_the_token_too(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON")
        token = (await join(embedded, show, "a"))["admission_token"]
        path, body = f"/inventory/{show}/holds/{HoldId.new()}", {"user_id": id_of("a"), "quantity": 1}
        bookings = embedded.run.as_service("bookings")

        refused = await bookings.put(path, json=body)
        taken = await bookings.put(path, json={**body, "admission": token})

        assert (refused.status_code, refused.json()["code"]) == (403, "admission_required")
        assert taken.status_code == 200

    async def test_need_none_once_the_admission_is_over_and_the_room_off(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON")
        token = (await join(embedded, show, "a"))["admission_token"]
        embedded.run.clock.advance(601)
        assert (await self.hold(embedded, show, "a", token)).status_code == 403

        await embedded.change(show, waiting_room="OFF")

        assert (await self.hold(embedded, show, "a")).status_code == 201

    async def test_of_a_closed_sale_are_refused_as_such(self, embedded: SeatingService) -> None:
        show = await embedded.show(waiting_room="ON", status="UPCOMING")

        assert (await self.hold(embedded, show, "a")).json()["code"] == "sale_closed"

    async def test_in_mode_auto_count_as_shoppers(self, seating: SeatingService) -> None:
        show = await seating.show(waiting_room="AUTO")
        for name in "abc":
            assert (await self.hold(seating, show, name)).status_code == 201
        await pass_time(seating, 1)

        assert (await self.hold(seating, show, "d")).status_code == 403
        waiting = await join(seating, show, "d")
        assert (waiting["status"], waiting["position"]) == ("WAITING", 1)
        await pass_time(seating, 601)
        await seating.run.context.resource(HoldExpiry).run_due()
        await pass_time(seating, 1)
        await pass_time(seating, 1)

        admitted = await place(seating, show, "d")
        assert admitted["status"] == "ADMITTED"
        assert (await self.hold(seating, show, "d", admitted["admission_token"])).status_code == 201
        assert (await self.hold(seating, show, "e")).status_code == 201


class TestBackground:
    async def test_queues_are_processed_and_streams_told_unasked(self, sqlite_databases: Databases) -> None:
        variables = {"WAITING_ROOM_SHOPPERS": "1"}
        async with run_service(service, sqlite_databases, variables=variables) as run:
            seating = SeatingService(run)
            show = await seating.show(waiting_room="ON")
            for name in "ab":
                await join(seating, show, name)
            async with streamed(seating, show, "b") as stream:
                assert (await stream.event())["status"] == "WAITING"
                run.clock.advance(601)

                assert (await stream.event())["status"] == "ADMITTED"
