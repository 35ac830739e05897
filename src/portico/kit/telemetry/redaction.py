"""Redaction of log values: masks secrets, by key or by format, and truncates long values."""

import functools
import re
from collections.abc import Mapping
from typing import Any

from portico.kit.settings.masking import MASK, mask_url

MAX_TEXT_LENGTH = 2_000  # characters of one value
MAX_TRACEBACK_LENGTH = 8_000
_MAX_ITEMS = 50
_MAX_DEPTH = 5

_SECRET_KEY = re.compile(
    r"passw|passphrase|pwd|secret|authori[sz]ation|cookie|credential|(api|private|signing|encryption)[-_ ]?key|"
    r"(^|[-_ .])(tokens?|jwt|tickets?|otp|csrf)$|accesstoken|refreshtoken|idtoken|code_verifier",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=\-]{8,}", re.IGNORECASE)
_JWT = re.compile(r"eyJ[\w\-]{4,}\.[\w\-]*(?:\.[\w\-]*)*")


@functools.lru_cache(maxsize=1024)
def is_secret_key(key: str) -> bool:
    """Return whether values with this key are secret (`access_token`, `Set-Cookie`, `new_password`)."""
    return _SECRET_KEY.search(key) is not None


def redact(key: str, value: Any, depth: int = 0) -> Any:
    """Return `value` as it may be logged under `key`: secrets masked, long text and containers truncated."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if is_secret_key(key):
        return MASK
    if isinstance(value, str):
        return scrub(value, MAX_TRACEBACK_LENGTH if key == "exception" else MAX_TEXT_LENGTH)
    return _redact_within(key, value, depth)


def _redact_within(key: str, value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        if depth >= _MAX_DEPTH:
            return "…"
        return {str(name): redact(str(name), item, depth + 1) for name, item in _first(value.items())}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(key, item, depth + 1) for item in _first(value)] if depth < _MAX_DEPTH else "…"
    if isinstance(value, bytes):
        return scrub(value[: MAX_TEXT_LENGTH + 1].decode("utf-8", "backslashreplace"))
    return scrub(_text(value))


def scrub(text: str, max_length: int = MAX_TEXT_LENGTH) -> str:
    """Return `text` without passwords in URLs, bearer credentials and JSON Web Tokens. Long text keeps its end."""
    # Truncate before searching, so that the cost is bounded.
    if len(text) > max_length:
        text = "…" + text[-max_length:]
    if "://" in text:
        text = mask_url(text)
    if "eyJ" in text:
        text = _JWT.sub(MASK, text)
    lowered = text.lower()
    if "bearer" in lowered or "basic" in lowered:
        text = _BEARER.sub(rf"\1 {MASK}", text)
    return text


def _first(items: Any) -> Any:
    return [item for _, item in zip(range(_MAX_ITEMS), items, strict=False)]


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  # the line is written even if a __str__ raises
        return f"<{type(value).__name__}: {type(error).__name__}>"
