"""Which tokens ended before their time, as far as identity's feed has told."""

import heapq
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from portico.kit.auth.principal import Principal
from portico.kit.auth.tokens import LEEWAY

RevocationKind = Literal["session", "token", "user"]

MOST_REVOCATIONS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Revocation:
    """One end: of a session, of a token, or of all of a user's tokens issued before a moment.

    `expires_at` is when the last token that it concerns expires by itself; `issued_before` goes with kind `user`.
    """

    kind: RevocationKind
    id: str
    expires_at: datetime
    issued_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class RevocationPage:
    """A stretch of the feed. `cursor` asks for what follows; `more` says that there is some already."""

    revocations: tuple[Revocation, ...]
    cursor: str
    more: bool = False


class RevocationSet:
    """Revocations in force, in memory: at most `most` of them, each kept until its tokens have expired anyway.

    When it is full, the one that would leave first leaves early, and every token that expires no later than it counts
    as revoked from then on: under a flood of revocations tokens live a little shorter, none lives too long.
    """

    def __init__(self, most: int = MOST_REVOCATIONS) -> None:
        self._most = most
        self._marks: dict[tuple[RevocationKind, str], Revocation] = {}
        self._leaving: list[tuple[float, RevocationKind, str]] = []
        self._revoked_until = 0.0

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, revocation: Revocation, now: datetime) -> None:
        """Take note of `revocation`; the same one again changes nothing."""
        self._drop_expired(now.timestamp())
        key = (revocation.kind, revocation.id)
        known = self._marks.get(key)
        if known is not None and not _reaches_further(revocation, known):
            return
        self._marks[key] = revocation
        heapq.heappush(self._leaving, (revocation.expires_at.timestamp() + LEEWAY, *key))
        self._make_room()

    def covers(self, principal: Principal) -> bool:
        """Whether `principal`'s token was ended."""
        if principal.expires_at.timestamp() <= self._revoked_until:
            return True
        if ("token", principal.token_id) in self._marks or ("session", principal.session_id or "") in self._marks:
            return True
        mark = self._marks.get(("user", principal.subject))
        return mark is not None and (mark.issued_before is None or principal.issued_at < mark.issued_before)

    def _drop_expired(self, now: float) -> None:
        while self._leaving and self._leaving[0][0] <= now:
            self._leave()

    def _make_room(self) -> None:
        while len(self._leaving) > self._most:
            until = self._leaving[0][0] - LEEWAY
            if self._leave():
                self._revoked_until = max(self._revoked_until, until)

    def _leave(self) -> bool:
        leaves_at, kind, name = heapq.heappop(self._leaving)
        mark = self._marks.get((kind, name))
        # A user's later mark has an entry of its own, further back: then nothing leaves yet.
        if mark is None or mark.expires_at.timestamp() + LEEWAY > leaves_at:
            return False
        del self._marks[kind, name]
        return True


def _reaches_further(new: Revocation, known: Revocation) -> bool:
    if new.expires_at > known.expires_at:
        return True
    return new.issued_before is not None and known.issued_before is not None and new.issued_before > known.issued_before
