"""The gates of a show: two check tickets in online, the third works offline and sends its scans afterwards."""

from base64 import b32decode, urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from portico.demo.progress import run_concurrently
from portico.demo.walkthrough import Walk
from portico.gateway_client import ExpectationFailed
from portico.ticketing_client import TicketingClient

_CONCURRENT_SCANS: Final = 16
_BATCH: Final = 500
_SIGNED_BYTES: Final = 21  # version 1, key number 2, show id 7, serial 11


@dataclass
class OfflineGate:
    """A gate without a network. It knows the keys and the revoked codes of the manifest that it loaded before.

    Args:
        show_id: the show.
        manifest: the JSON of `GET /api/check-ins/manifest`.
    """

    show_id: int
    manifest: Mapping[str, Any]
    scans: list[dict[str, Any]] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def admit(self, code: str) -> bool:
        """Return whether the holder of a ticket may enter, and record the scan if so."""
        serial = self._serial_of(code)
        revoked = {each["serial"] for each in self.manifest["revoked"]}
        if serial is None or serial in revoked or serial in self._seen:
            return False
        self._seen.add(serial)
        number = len(self.scans)
        self.scans.append(
            {
                "code": code,
                "eventId": self.show_id,
                "gate": "South",
                "scanId": f"south-{number}",
                "scannedAt": datetime.now(UTC).isoformat(),
            }
        )
        return True

    def _serial_of(self, code: str) -> str | None:
        """Return the serial of a code for this show with a valid signature, else None."""
        try:
            raw = b32decode(code)
        except ValueError:
            return None
        signed, signature = raw[:_SIGNED_BYTES], raw[_SIGNED_BYTES:]
        number, show_id = int.from_bytes(signed[1:3]), int.from_bytes(signed[3:10])
        known = {key["number"]: key["x"] for key in self.manifest["keys"]}
        if number not in known or show_id != self.show_id:
            return None
        public = Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(known[number] + "="))
        try:
            public.verify(signature, signed)
        except InvalidSignature:
            return None
        return signed[10:].hex()


@dataclass(frozen=True)
class Gates:
    """Three gates of a show.

    Args:
        walk: to the gateway.
        show_id: the show.
        scanner: a client that may check tickets in.
    """

    walk: Walk
    show_id: int
    scanner: TicketingClient

    async def admit_all(self, codes: Sequence[str]) -> None:
        """Check every ticket in, at one of the gates. Raises ExpectationFailed if one is refused."""
        self.walk.section(f"{len(codes)} tickets at three gates, one of them offline")
        manifest = await self.scanner.get(f"/api/check-ins/manifest?eventId={self.show_id}")
        south = OfflineGate(self.show_id, manifest)
        online, offline = [code for number, code in enumerate(codes) if number % 3], codes[::3]
        for code in offline:
            if not south.admit(code):
                raise ExpectationFailed(f"Expected: the offline gate admits {code}")
        self.walk.check(not south.admit(offline[0]), "the offline gate admits no ticket twice")
        self.walk.check(not south.admit(_forged(offline[0])), "the offline gate recognises a forged code")
        await run_concurrently(self.walk.console, "checked in", online, self._check_in, limit=_CONCURRENT_SCANS)
        self.walk.report(f"{len(online)} tickets are checked in at two gates")
        for start in range(0, len(south.scans), _BATCH):
            await self._send(south.scans[start : start + _BATCH])
        self.walk.report(f"{len(south.scans)} scans of the offline gate are accepted afterwards")
        await self._try_twice(online[0] if online else offline[0])

    async def _check_in(self, code: str) -> None:
        gate = "North" if code[-1] < "N" else "East"
        scan = {"code": code, "eventId": self.show_id, "gate": gate, "scanId": f"{gate}-{code[-24:]}"}
        (await self.scanner.request_until_final("POST", "/api/check-ins", scan)).expect(HTTPStatus.CREATED)

    async def _send(self, scans: Sequence[Mapping[str, Any]]) -> None:
        response = await self.scanner.request_until_final("POST", "/api/check-ins/batch", {"scans": scans})
        refused = [
            each for each in response.expect(HTTPStatus.OK).json()["results"] if each["status"] != HTTPStatus.CREATED
        ]
        if refused:
            raise ExpectationFailed(f"{response.request}: {len(refused)} scans are refused, such as {refused[0]}")

    async def _try_twice(self, code: str) -> None:
        again = await self.walk.call("POST", "/api/check-ins", json={"code": code}, token=self.scanner.token)
        again.expect(HTTPStatus.CONFLICT, code="already_checked_in")
        forged = await self.walk.call("POST", "/api/check-ins", json={"code": _forged(code)}, token=self.scanner.token)
        forged.expect(HTTPStatus.NOT_FOUND, code="ticket_unknown")


def _forged(code: str) -> str:
    """Return the code with one changed letter of its serial."""
    place = 20
    return code[:place] + ("A" if code[place] != "A" else "B") + code[place + 1 :]
