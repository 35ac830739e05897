from typing import Final, Literal

OAuthError = Literal[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
    "slow_down",
    "temporarily_unavailable",
]

_STATUS: Final[dict[str, int]] = {"invalid_client": 401, "slow_down": 429, "temporarily_unavailable": 503}


class OAuthRefusal(Exception):
    """A refusal in the shape of RFC 6749 section 5.2. `retry_after` is in seconds."""

    def __init__(self, error: OAuthError, description: str, *, retry_after: float | None = None) -> None:
        super().__init__(description)
        self.error: OAuthError = error
        self.description = description
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        return _STATUS.get(self.error, 400)
