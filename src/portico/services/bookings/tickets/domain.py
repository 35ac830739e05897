"""The ticket code: what a gate reads, offline too.

A code is 85 bytes in base 32 (RFC 4648 section 6), 136 characters that a QR code stores in its compact alphanumeric mode:

    version 1 byte | key number 2 | show id 7 | serial 11 | Ed25519 signature of the bytes before it 64 (RFC 8032)

The serial is random and names the ticket until the ticket gets a new code. Nothing in a code is personal.
"""

import binascii
import secrets
import unicodedata
from base64 import b32decode, b32encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NewType, Self

from portico.contracts.events import ShowId
from portico.kit.auth import SigningKey, VerifyingKey

CODE_LENGTH: Final = 136
SERIAL_LENGTH: Final = 22
MAX_KEY_NUMBER: Final = 2**16 - 1

_VERSION: Final = 1
_KEY_BYTES: Final = 2
_SHOW_BYTES: Final = 7
_SERIAL_BYTES: Final = 11
_SIGNED_BYTES: Final = 1 + _KEY_BYTES + _SHOW_BYTES + _SERIAL_BYTES

Serial = NewType("Serial", str)
"""The random number in a code, as 22 hexadecimal digits."""


def new_serial() -> Serial:
    """Return the serial of a new code."""
    return Serial(secrets.token_hex(_SERIAL_BYTES))


@dataclass(frozen=True, slots=True)
class TicketCode:
    """What a code says: the show and the serial, and the number of the key that signs it."""

    key_number: int
    event_id: ShowId
    serial: Serial

    def sign(self, key: SigningKey) -> str:
        """Return the code as text, signed with the key of this number."""
        signed = self._signed_bytes()
        return b32encode(signed + key.sign(signed)).decode()

    @classmethod
    def read(cls, text: str, keys: Mapping[int, VerifyingKey]) -> Self | None:
        """Return what the code `text` says, or None if none of the keys signed it. Case is ignored."""
        raw = _decoded(text)
        if raw is None:
            return None
        found, signature = cls._of(raw), raw[_SIGNED_BYTES:]
        key = keys.get(found.key_number)
        if raw[0] != _VERSION or key is None or not key.verifies(raw[:_SIGNED_BYTES], signature):
            return None
        return found

    @classmethod
    def _of(cls, raw: bytes) -> Self:
        number, show, serial = raw[1:3], raw[3:10], raw[10:_SIGNED_BYTES]
        return cls(int.from_bytes(number), ShowId(int.from_bytes(show)), Serial(serial.hex()))

    def _signed_bytes(self) -> bytes:
        return b"".join(
            (
                _VERSION.to_bytes(),
                self.key_number.to_bytes(_KEY_BYTES),
                self.event_id.to_bytes(_SHOW_BYTES),
                bytes.fromhex(self.serial),
            )
        )


def key_number_of(text: str) -> int | None:
    """Return the number of the key that a code claims to be signed with, or None if it is not a code."""
    raw = _decoded(text)
    return None if raw is None else int.from_bytes(raw[1:3])


def _decoded(text: str) -> bytes | None:
    if len(text) != CODE_LENGTH or not text.isascii():
        return None
    try:
        return b32decode(text.upper())
    except binascii.Error:
        return None


def fold_email(address: str) -> str:
    """Return the form in which addresses are compared: case and compatibility forms are ignored."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", address.strip()).casefold())
