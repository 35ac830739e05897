from typing import Literal

from portico.kit import Moment, Schema
from portico.kit.auth import Reason


class TokenToValidate(Schema):
    token: str


class ValidTokenRead(Schema):
    """What a token that holds says. `user_id` is `service:<name>` for a service's own token."""

    valid: Literal[True] = True
    user_id: str
    email: str | None
    roles: list[str]
    permissions: list[str]
    expires_at: Moment


class InvalidTokenRead(Schema):
    valid: Literal[False] = False
    reason: Reason
