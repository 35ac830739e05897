"""Masking of secrets in values that are shown or logged."""

import re
from typing import Any

from pydantic import SecretStr

MASK = "***"

# Greedy up to the last "@": a password may contain an unescaped "/" or "@", and masking too much is safe.
_USERINFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.\-]*://)(?P<user>[^:@/?#\s]*)(?P<rest>[^\s]*)@", re.IGNORECASE)
_PARAMETER = re.compile(
    r"(?P<name>[?&;][^=&#\s]*(?:pass|pwd|secret|token|key|ticket|credential)[^=&#\s]*=)[^&#\s]*", re.IGNORECASE
)


def mask_url(url: str) -> str:
    """Mask the password in `url`, and the values of query parameters with a secret's name.

    `url` may be a longer text: every URL in it is masked.
    """
    if "://" not in url:
        return url
    return _PARAMETER.sub(rf"\g<name>{MASK}", _USERINFO.sub(_mask_userinfo, url))


def _mask_userinfo(found: re.Match[str]) -> str:
    password = f":{MASK}" if found["rest"] else ""
    return f"{found['scheme']}{found['user']}{password}@"


def masked(value: Any) -> Any:
    """Return a setting's value with its secrets masked, as JSON types."""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, str):
        return mask_url(value)
    if isinstance(value, (tuple, list)):
        return [masked(item) for item in value]
    if isinstance(value, dict):
        return {key: masked(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)
