"""Revocations of tokens, from identity's events and feed."""

import heapq
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from portico.kit.auth.principal import Principal
from portico.kit.auth.tokens import LEEWAY

RevocationKind = Literal["session", "token", "user"]

MAX_REVOCATIONS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Revocation:
    """Revocation of a session, of a token, or of a user's tokens issued before a moment.

    Attributes:
        kind: what is revoked.
        id: id of the session, token or user.
        expires_at: when the last affected token expires.
        issued_before: for kind `user`, the moment before which the revoked tokens were issued.
    """

    kind: RevocationKind
    id: str
    expires_at: datetime
    issued_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class RevocationPage:
    """A page of the feed. `cursor` requests the next page; `more` says whether there is one already."""

    revocations: tuple[Revocation, ...]
    cursor: str
    more: bool = False


class RevocationSet:
    """Active revocations in memory, at most `limit`. Each is kept until its tokens have expired.

    When it is full, the revocation that expires first is removed, and all tokens that expire no later count as revoked.
    Under a flood of revocations, valid tokens are rejected a little early, but no revoked token is accepted.
    """

    def __init__(self, limit: int = MAX_REVOCATIONS) -> None:
        self._limit = limit
        self._revocations: dict[tuple[RevocationKind, str], Revocation] = {}
        self._expiry_queue: list[tuple[float, RevocationKind, str]] = []
        self._revoked_until = 0.0

    def __len__(self) -> int:
        return len(self._revocations)

    def add(self, revocation: Revocation, now: datetime) -> None:
        """Add `revocation`. Adding it again has no effect."""
        self._drop_expired(now.timestamp())
        key = (revocation.kind, revocation.id)
        known = self._revocations.get(key)
        if known is not None and not _extends(revocation, known):
            return
        self._revocations[key] = revocation
        heapq.heappush(self._expiry_queue, (revocation.expires_at.timestamp() + LEEWAY, *key))
        self._enforce_limit()

    def covers(self, principal: Principal) -> bool:
        """Return whether the token of `principal` is revoked."""
        if principal.expires_at.timestamp() <= self._revoked_until:
            return True
        if ("token", principal.token_id) in self._revocations or (
            "session",
            principal.session_id or "",
        ) in self._revocations:
            return True
        found = self._revocations.get(("user", principal.subject))
        return found is not None and (found.issued_before is None or principal.issued_at < found.issued_before)

    def _drop_expired(self, now: float) -> None:
        while self._expiry_queue and self._expiry_queue[0][0] <= now:
            self._drop_first()

    def _enforce_limit(self) -> None:
        while len(self._expiry_queue) > self._limit:
            until = self._expiry_queue[0][0] - LEEWAY
            if self._drop_first():
                self._revoked_until = max(self._revoked_until, until)

    def _drop_first(self) -> bool:
        expires_at, kind, name = heapq.heappop(self._expiry_queue)
        found = self._revocations.get((kind, name))
        # A later revocation of the same user has its own entry further back, so this one stays.
        if found is None or found.expires_at.timestamp() + LEEWAY > expires_at:
            return False
        del self._revocations[kind, name]
        return True


def _extends(new: Revocation, known: Revocation) -> bool:
    if new.expires_at > known.expires_at:
        return True
    return new.issued_before is not None and known.issued_before is not None and new.issued_before > known.issued_before
