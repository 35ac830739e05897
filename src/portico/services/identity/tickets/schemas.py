from typing import Annotated

from pydantic import StringConstraints

from portico.kit import Schema


class TicketRead(Schema):
    ticket: str
    expires_in: int


class TicketToRedeem(Schema):
    ticket: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class RedeemedRead(Schema):
    """The token that the ticket stood for."""

    access_token: str
    expires_in: int
