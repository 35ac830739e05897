"""Gates without a connection: the manifest that they work with, and the scans that they send later."""

import asyncio
import re
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from tests.services.bookings.check_ins.support import Gate, gate, ticket_of
from tests.services.bookings.support import BookingsService, place
from tests.services.bookings.tickets.support import issue, person, void

from portico.contracts.events import ShowId
from portico.services.bookings.check_ins import service

GUIDE = Path(__file__).parents[4] / "docs/tickets.md"


def scan(code: str, scan_id: str, scanned_at: str | None = None) -> dict[str, Any]:
    return {"code": code, "scan_id": scan_id, "scanned_at": scanned_at}


class TestBatch:
    async def test_the_earliest_scan_wins_and_each_scan_has_a_result(self, bookings: BookingsService) -> None:
        _, ticket = await ticket_of(bookings)
        bookings.run.clock.advance(3600)
        north = gate(bookings)
        late, early = "2026-01-05T09:30:00Z", "2026-01-05T09:20:00Z"

        results = await north.batch(
            scan(ticket["code"], "late", late), scan("forged", "forged"), scan(ticket["code"], "early", early)
        )

        assert [(each["scan_id"], each["status"], each["code"]) for each in results] == [
            ("late", 409, "already_checked_in"),
            ("forged", 404, "ticket_unknown"),
            ("early", 201, None),
        ]
        assert (results[0]["first_checked_in_at"], results[0]["gate"]) == (early, "North")
        assert results[2]["ticket_id"] == ticket["ticket_id"]

    async def test_a_repeated_batch_has_the_same_results_also_at_the_same_time(self, bookings: BookingsService) -> None:
        show = ShowId.new()
        ada = await person(bookings)
        await issue(bookings, ada.user_id, *(place(f"1-A-{number}") for number in range(1, 31)), event_id=show)
        scans = [scan(ticket["code"], f"n-{number}") for number, ticket in enumerate(await ada.tickets())]
        north = gate(bookings)

        first, second = await asyncio.gather(north.batch(*scans), north.batch(*scans[::-1]))
        third = await north.batch(*scans)

        assert first == second[::-1] == third
        assert Counter(each["status"] for each in first) == {201: len(scans)}

    @pytest.mark.parametrize("order", list(permutations(range(3))))
    async def test_in_whatever_order_scans_arrive_the_earliest_counts(
        self, embedded: BookingsService, order: tuple[int, ...]
    ) -> None:
        ada, ticket = await ticket_of(embedded)
        embedded.run.clock.advance(3600)
        moments = ["2026-01-05T09:10:00Z", "2026-01-05T09:20:00Z", "2026-01-05T09:20:00Z"]
        gates = [gate(embedded, name) for name in ("A", "B", "C")]

        results = {
            number: await gates[number].batch(scan(ticket["code"], f"{number}", moments[number])) for number in order
        }

        listed = (await gates[0].caller.get("/check-ins")).json()["check_ins"]
        (counting,) = [each for each in listed if each["status"] == "ACTIVE"]
        assert (counting["gate"], counting["checked_in_at"]) == ("A", moments[0])
        assert (await ada.tickets())[0]["checked_in_at"] == moments[0]
        assert results[0][0]["status"] == 201
        types = Counter(each.event_type for each in await embedded.run.published())
        assert types["ticket.checked_in"] == 1

    async def test_a_superseded_check_in_cannot_be_undone(self, embedded: BookingsService) -> None:
        _, ticket = await ticket_of(embedded)
        embedded.run.clock.advance(3600)
        north = gate(embedded)
        second = (await north.scan(ticket["code"], scanned_at="2026-01-05T09:20:00Z")).json()
        (first,) = await north.batch(scan(ticket["code"], "n-1", "2026-01-05T09:10:00Z"))

        refused = await north.undo(second["check_in_id"])

        assert (refused.status_code, refused.json()["code"]) == (409, "check_in_superseded")
        assert refused.json()["superseded_by"] == first["check_in_id"]

    async def test_has_1_to_1000_scans_with_an_id_each(self, embedded: BookingsService) -> None:
        north = gate(embedded)
        bodies = [
            [],
            [scan("A", f"{number}") for number in range(1001)],
            [scan("A", "same"), scan("B", "same")],
            [{"code": "A"}],
        ]

        answers = [await north.caller.post("/check-ins/batch", json={"scans": scans}) for scans in bodies]
        largest = await north.batch(*bodies[1][:1000])

        assert [answer.status_code for answer in answers] == [422] * 4
        assert Counter(each["code"] for each in largest) == {"ticket_unknown": 1000}


class OfflineGate:
    """The gate of docs/tickets.md, which decides by manifests alone."""

    def __init__(self, online: Gate, event_id: int) -> None:
        (source,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        names: dict[str, Any] = {}
        exec(source, names)  # noqa: S102  # the guide's code is tested as it is printed
        self.documented = names["Gate"](event_id)
        self.online, self.event_id = online, event_id
        self.since: str | None = None

    async def synchronize(self) -> None:
        """Apply the changes since the last time."""
        has_more = True
        while has_more:
            manifest = await self.online.manifest(self.event_id, self.since)
            self.documented.apply(manifest)
            self.since, has_more = manifest["next_since"], manifest["has_more"]

    def admits(self, code: str) -> bool:
        """Return whether the gate lets the holder of a code in."""
        return bool(self.documented.admits(code))


class TestManifest:
    async def test_an_offline_gate_decides_as_the_service_does(self, bookings: BookingsService) -> None:
        show = ShowId.new()
        ada, bob = await person(bookings), await person(bookings, "Bob")
        for number in range(1, 6):
            await issue(bookings, ada.user_id, place(f"1-A-{number}"), event_id=show)
        free, used, undone, cancelled, replaced = await ada.tickets()
        _, elsewhere = await ticket_of(bookings)
        north = gate(bookings)
        offline = OfflineGate(north, show)
        await offline.synchronize()
        before = [offline.admits(each["code"]) for each in (free, used, undone, cancelled, replaced, elsewhere)]
        bookings.run.clock.advance(600)

        await north.scan(used["code"])
        await north.undo((await north.scan(undone["code"])).json()["check_in_id"])
        await void(bookings, cancelled["booking_id"])
        transfer = (await ada.offer(replaced["ticket_id"], bob.email)).json()["transfer_id"]
        new = (await bob.accept(transfer)).json()
        await offline.synchronize()

        assert before == [True, True, True, True, True, False]
        assert [offline.admits(each["code"]) for each in (free, used, undone, cancelled, replaced, new)] == [
            True,
            False,
            True,
            False,
            False,
            True,
        ]
        assert not offline.admits(elsewhere["code"])
        assert not offline.admits("forged")

    async def test_since_lists_later_changes_with_an_overlap(self, embedded: BookingsService) -> None:
        show = ShowId.new()
        ada = await person(embedded)
        for number in range(1, 4):
            await issue(embedded, ada.user_id, place(f"1-A-{number}"), event_id=show)
        codes = [ticket["code"] for ticket in await ada.tickets()]
        north = gate(embedded)
        await north.scan(codes[0])
        embedded.run.clock.advance(service.OVERLAP.total_seconds() + 1)
        await north.scan(codes[1])
        first = await north.manifest(show)
        await north.scan(codes[2])

        second = await north.manifest(show, first["next_since"])

        assert [len(each["check_ins"]) for each in (first, second)] == [2, 2]
        assert first["check_ins"][1] == second["check_ins"][0]
        assert first["has_more"] is False

    async def test_is_for_scanners(self, embedded: BookingsService) -> None:
        answer = await embedded.as_user("bookings:read").get(f"/check-ins/manifest?event_id={ShowId.new()}")

        assert answer.status_code == 403


async def test_a_long_manifest_has_several_parts(embedded: BookingsService) -> None:
    show = ShowId.new()
    ada = await person(embedded)
    await issue(embedded, ada.user_id, *(place(f"1-A-{number}") for number in range(1, 8)), event_id=show)
    for ticket in await ada.tickets():
        embedded.run.clock.advance(1)
        await gate(embedded).scan(ticket["code"])

    parts = await manifest_parts(embedded, show, limit=3)

    assert [len(part.check_ins) for part in parts] == [3, 3, 3, 1]
    assert len({check_in.serial for part in parts for check_in in part.check_ins}) == 7


async def manifest_parts(bookings: BookingsService, show: ShowId, *, limit: int) -> list[service.Manifest]:
    """Return all parts of a show's manifest."""
    parts: list[service.Manifest] = []
    async with bookings.run.context.reader() as reader:
        while not parts or parts[-1].has_more:
            since = parts[-1].next_since if parts else None
            parts.append(await service.read_manifest(reader, show, since, limit=limit))
    return parts
