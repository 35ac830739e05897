"""The embedded mailer stores mails as .eml files in a folder. Any mail program can open them."""

import asyncio
import email
import email.policy
import os
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

from portico.kit import Clock, InvalidCursor, Slice, Window
from portico.services.notifications.mail.base import CONFIDENTIAL, Address, Mail, MailDeferred, Mailer, MailId, as_bytes

HIDDEN = "This mail has a token that only its recipient may read. It is in the mailbox directory in DATA_DIR."
"""Shown instead of the text of a confidential mail: its token would give the account to the reader."""
_ENDING = ".eml"
_SHARE = 100
"""The folder is pruned after every `keep / _SHARE` mails."""
_BEFORE = "-"  # prefix of a cursor that leads to newer mails


@dataclass(frozen=True, slots=True)
class StoredMail:
    """A mail in the mailbox. `size` is in bytes."""

    mail_id: MailId
    message_id: str
    sender: str
    recipient: str
    subject: str
    text: str
    html: str | None
    size: int
    received_at: datetime
    revision: int = 1  # a stored mail never changes


class Mailbox(Mailer):
    """A folder of mails. A mail that is sent twice is stored once.

    Args:
        folder: created with the first mail.
        sender: the From address.
        keep: how many mails are kept; the folder may exceed it by one percent before the oldest are removed.
        clock: the time.
    """

    limit = 10.0
    concurrency = 16

    def __init__(self, folder: Path, sender: Address, *, keep: int, clock: Clock | None = None) -> None:
        self.folder = folder
        self.sender = sender
        self._keep = keep
        self._room = 0
        self._room_lock = threading.Lock()
        self._clock = clock or Clock()

    async def send(self, mail: Mail) -> str:
        try:
            await asyncio.to_thread(self._store, mail)
        except OSError as error:
            raise MailDeferred(f"the mailbox folder is not writable: {error.strerror or error}") from error
        return f"stored as {mail.mail_id}{_ENDING}"

    async def find(self, mail_id: MailId) -> StoredMail | None:
        """Return the mail, or None."""
        return await asyncio.to_thread(self._read, mail_id)

    async def page(self, window: Window) -> Slice[StoredMail]:
        """Return a page of mails, newest first. Raises InvalidCursor."""
        return await asyncio.to_thread(self._page, window)

    async def delete_before(self, moment: datetime) -> None:
        """Delete mails received before `moment`."""
        await asyncio.to_thread(self._delete_before, moment.timestamp())

    async def check(self) -> None:
        """Raise MailDeferred if the folder is not writable."""
        try:
            await asyncio.to_thread(self._ensure_folder)
        except OSError as error:
            raise MailDeferred(f"the mailbox folder is not writable: {error.strerror or error}") from error

    async def aclose(self) -> None:
        """Do nothing: the mailbox holds no connection."""

    def _ensure_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")

    def _store(self, mail: Mail) -> None:
        """Write a temporary file and rename it, so that readers never see a partial mail."""
        place = self._path(mail.mail_id)
        if place.exists():
            return
        self._ensure_folder()
        draft = self.folder / f".{mail.mail_id}.{secrets.token_hex(8)}"
        now = self._clock.now().timestamp()
        try:
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(as_bytes(mail, self.sender))
                file.flush()
                os.fsync(file.fileno())
            os.utime(draft, (now, now))
            draft.replace(place)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(self.folder)
        self._make_room()

    def _make_room(self) -> None:
        """Remove the oldest mails beyond `keep`. Listing the folder is slow, so this is done once per share of mails."""
        with self._room_lock:
            self._room -= 1
            if self._room >= 0:
                return
            self._room = self._keep // _SHARE
            for name in self._names()[: -self._keep]:
                self._path(name).unlink(missing_ok=True)

    def _delete_before(self, moment: float) -> None:
        for name in self._names():
            path = self._path(name)
            try:
                if path.stat().st_mtime < moment:
                    path.unlink()
            except FileNotFoundError:
                continue  # another process was first

    def _names(self) -> list[MailId]:
        """Return the mail ids in the folder, oldest first. Other files are ignored."""
        try:
            found = [entry.name.removesuffix(_ENDING) for entry in os.scandir(self.folder)]
        except FileNotFoundError:
            return []
        return sorted(MailId(name) for name in found if MailId.pattern.fullmatch(name))

    def _page(self, window: Window) -> Slice[StoredMail]:
        names = self._names()[::-1]
        start = _place(names, window)
        chosen = names[max(start, 0) : max(start + window.limit, 0)]
        end = start + window.limit
        return Slice(
            list(self._read_all(chosen)),
            len(names),
            next=chosen[-1] if chosen and end < len(names) else None,
            previous=f"{_BEFORE}{chosen[0]}" if chosen and window.cursor and start > 0 else None,
        )

    def _read_all(self, names: list[MailId]) -> Iterator[StoredMail]:
        return (mail for name in names if (mail := self._read(name)) is not None)

    def _read(self, mail_id: MailId) -> StoredMail | None:
        path = self._path(mail_id)
        try:
            content, status = path.read_bytes(), path.stat()
        except FileNotFoundError:
            return None
        message = email.message_from_bytes(content, policy=email.policy.default)
        is_hidden = _header(message, "sensitivity") == CONFIDENTIAL
        return StoredMail(
            mail_id=mail_id,
            message_id=_header(message, "message-id"),
            sender=_header(message, "from"),
            recipient=_header(message, "to"),
            subject=_header(message, "subject"),
            text=HIDDEN if is_hidden else _body(message, "plain") or "",
            html=None if is_hidden else _body(message, "html"),
            size=status.st_size,
            received_at=datetime.fromtimestamp(status.st_mtime, UTC),
        )

    def _path(self, mail_id: MailId) -> Path:
        return self.folder / f"{mail_id}{_ENDING}"


def _place(names: list[MailId], window: Window) -> int:
    """Where in `names`, newest first, the window begins; below 0 where a page backwards is not full."""
    if window.cursor is None:
        return window.skip
    backward = window.cursor.startswith(_BEFORE)
    text = window.cursor.removeprefix(_BEFORE)
    if MailId.pattern.fullmatch(text) is None:
        raise InvalidCursor
    if backward:
        return sum(name > text for name in names) - window.limit
    return sum(name >= text for name in names)


def _header(message: EmailMessage, name: str) -> str:
    return str(message.get(name, "")).encode("utf-8", "replace").decode()


def _body(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body((kind,))
    if part is None:
        return None
    content = part.get_payload(decode=True)  # not get_content, which raises for an unknown charset
    return content.decode("utf-8", "replace").replace("\r\n", "\n") if isinstance(content, bytes) else ""


def _sync_folder(folder: Path) -> None:
    """Flush the folder entry to disk, so that the file survives a power failure. Windows cannot do this."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
