"""Admission tokens of waiting rooms, and the check that a hold needs one."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, Protocol

from portico.contracts.events import ShowId, WaitingRoomMode
from portico.kit import ServiceContext, UserId
from portico.services.seating.errors import AdmissionRequired

_MAX_TOKEN_LENGTH: Final = 128
_MAC_BYTES: Final = 24


class GuardedShow(Protocol):
    """What is to be known of a show whose places are held."""

    @property
    def show_id(self) -> ShowId: ...

    @property
    def waiting_room(self) -> WaitingRoomMode: ...

    @property
    def sale_starts_at(self) -> datetime | None: ...


class Admissions:
    """Makes and checks admission tokens. A token is for one user and show until its end, and is never stored.

    Attributes:
        crowded: shows in mode AUTO whose waiting room is on, as of a second ago at most.

    Args:
        secret: the secret of the system; the key is derived from it.
    """

    def __init__(self, secret: str) -> None:
        self.crowded: frozenset[ShowId] = frozenset()
        self._key = hmac.digest(secret.encode(), b"portico seating: admission to a sale", hashlib.sha256)

    def token(self, show_id: ShowId, user_id: UserId, until: datetime) -> str:
        """Return the token of an admission."""
        return self._token(show_id, user_id, int(until.timestamp() * 1000))

    def is_valid(self, token: str, show_id: ShowId, user_id: UserId, now: datetime) -> bool:
        """Return whether a token admits this user to this show now."""
        end, _, _ = token.partition(".")
        if len(token) > _MAX_TOKEN_LENGTH or not (end.isascii() and end.isdigit()):
            return False
        expected = self._token(show_id, user_id, int(end))
        is_genuine = hmac.compare_digest(expected.encode(), token.encode("utf-8", "replace"))
        return is_genuine and int(end) > now.timestamp() * 1000

    def is_on(self, show: GuardedShow, now: datetime) -> bool:
        """Return whether holds of a show need admission. Before the sale, presale codes open holds without it."""
        if show.waiting_room == "OFF" or (show.sale_starts_at is not None and now < show.sale_starts_at):
            return False
        return show.waiting_room == "ON" or show.show_id in self.crowded

    def require(self, show: GuardedShow, now: datetime, *, user_id: UserId, token: str | None) -> None:
        """Raise AdmissionRequired if the waiting room is on and the token does not admit the user."""
        if self.is_on(show, now) and (token is None or not self.is_valid(token, show.show_id, user_id, now)):
            raise AdmissionRequired

    def _token(self, show_id: ShowId, user_id: UserId, end: int) -> str:
        message = f"{int(show_id)}\n{user_id}\n{end}".encode()
        mac = hmac.digest(self._key, message, hashlib.sha256)[:_MAC_BYTES]
        return f"{end}.{urlsafe_b64encode(mac).decode()}"


@asynccontextmanager
async def open_admissions(context: ServiceContext) -> AsyncIterator[Admissions]:
    """Open the admissions of the service."""
    yield Admissions(context.secrets.secret_key.get_secret_value())
