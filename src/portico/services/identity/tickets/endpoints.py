from typing import Annotated

from fastapi import Response

from portico.kit import FromService, Router, SignedIn, Work, provided
from portico.services.identity.tickets.commands import issue_ticket, redeem_ticket
from portico.services.identity.tickets.errors import TicketNotFound
from portico.services.identity.tickets.models import TICKET_LIFETIME
from portico.services.identity.tickets.schemas import RedeemedRead, TicketRead, TicketToRedeem
from portico.services.identity.tokens.resources import TokenIssuer

router = Router(prefix="/auth/tickets", tags=["tickets"])


@router.post("", status_code=201, stores_answer=False)
async def ask_for_ticket(caller: SignedIn, work: Work, response: Response) -> TicketRead:
    """A ticket to pass as `?ticket=` where a header can't be set. It works once, within 30 seconds."""
    response.headers["cache-control"] = "no-store"
    return TicketRead(ticket=issue_ticket(work, caller), expires_in=int(TICKET_LIFETIME.total_seconds()))


@router.post("/redeem", stores_answer=False, errors=[TicketNotFound])
async def redeem(
    asked: TicketToRedeem, _caller: FromService, work: Work, issuer: Annotated[TokenIssuer, provided(TokenIssuer)]
) -> RedeemedRead:
    """The access token that a ticket stands for, once, for services."""
    access = await redeem_ticket(work, asked.ticket, issuer)
    return RedeemedRead(access_token=access.text, expires_in=access.expires_in)
