from base64 import b32decode, b32encode

from hypothesis import assume, given
from hypothesis import strategies as st

from portico.contracts.events import ShowId
from portico.kit.auth import SigningKey
from portico.services.bookings.tickets.domain import (
    CODE_LENGTH,
    MAX_KEY_NUMBER,
    Serial,
    TicketCode,
    fold_email,
    key_number_of,
    new_serial,
)

KEY, OTHER = SigningKey.generate("EdDSA"), SigningKey.generate("EdDSA")
CODES = st.builds(
    TicketCode,
    key_number=st.integers(0, MAX_KEY_NUMBER),
    event_id=st.integers(1, ShowId.largest).map(ShowId),
    serial=st.binary(min_size=11, max_size=11).map(lambda raw: Serial(raw.hex())),
)


class TestTicketCode:
    @given(CODES)
    def test_a_signed_code_reads_as_what_was_signed(self, code: TicketCode) -> None:
        text = code.sign(KEY)

        assert TicketCode.read(text, {code.key_number: KEY.verifying}) == code
        assert TicketCode.read(text.lower(), {code.key_number: KEY.verifying}) == code
        assert key_number_of(text) == code.key_number

    @given(CODES)
    def test_has_136_letters_and_digits_without_padding(self, code: TicketCode) -> None:
        text = code.sign(KEY)

        assert len(text) == CODE_LENGTH
        assert text.isalnum()
        assert text == text.upper()

    @given(CODES, st.integers(0, 84), st.integers(1, 255))
    def test_a_code_with_another_byte_is_forged(self, code: TicketCode, place: int, change: int) -> None:
        raw = bytearray(b32decode(code.sign(KEY)))
        raw[place] ^= change
        keys = dict.fromkeys(range(MAX_KEY_NUMBER + 1), KEY.verifying)

        assert TicketCode.read(b32encode(raw).decode(), keys) is None

    @given(CODES)
    def test_a_code_of_another_or_an_unknown_key_is_forged(self, code: TicketCode) -> None:
        text = code.sign(OTHER)

        assert TicketCode.read(text, {code.key_number: KEY.verifying}) is None
        assert TicketCode.read(text, {}) is None

    @given(st.text(max_size=200))
    def test_any_other_text_is_no_code(self, text: str) -> None:
        assume(len(text) != CODE_LENGTH)

        assert TicketCode.read(text, {1: KEY.verifying}) is None
        assert key_number_of(text) is None

    @given(st.text(min_size=CODE_LENGTH, max_size=CODE_LENGTH))
    def test_text_of_the_same_length_is_no_code(self, text: str) -> None:
        assert TicketCode.read(text, dict.fromkeys(range(100), KEY.verifying)) is None

    def test_serials_differ(self) -> None:
        assert len({new_serial() for _ in range(100)}) == 100


class TestFoldEmail:
    def test_ignores_case_and_compatibility_forms(self) -> None:
        assert fold_email(" Ada@Example.COM ") == fold_email("\uff21da@example.com")
        assert fold_email("ada@example.com") != fold_email("adah@example.com")
