from sqlalchemy import delete

from portico.contracts.identity import SessionId
from portico.kit import Principal, UnitOfWork
from portico.services.identity.roles.repository import Roles
from portico.services.identity.sessions.models import Session
from portico.services.identity.tickets.errors import TicketNotFound
from portico.services.identity.tickets.models import TICKET_LIFETIME, Ticket
from portico.services.identity.tokens.domain import AccessToken, digest_of, new_secret
from portico.services.identity.tokens.resources import TokenIssuer
from portico.services.identity.users.models import User


def issue_ticket(work: UnitOfWork, caller: Principal) -> str:
    """A ticket for the caller's session."""
    secret = new_secret()
    work.add(
        Ticket(
            digest=digest_of(secret),
            session_id=SessionId(caller.session_id or ""),
            token_expires_at=caller.expires_at,
            expires_at=work.now + TICKET_LIFETIME,
        )
    )
    return secret


async def redeem_ticket(work: UnitOfWork, secret: str, issuer: TokenIssuer) -> AccessToken:
    """An access token for a ticket, once. Raises TicketNotFound."""
    ticket = await work.get(Ticket, digest_of(secret))
    if ticket is None or ticket.expires_at <= work.now:
        raise TicketNotFound
    session = await work.get(Session, ticket.session_id)
    if session is None:
        raise TicketNotFound
    user = await work.get(User, session.user_id, lock=True)
    # The row's removal decides: of two who redeem it at once, one finds it gone.
    removed = await work.execute(
        delete(Ticket).where(Ticket.digest == ticket.digest).execution_options(synchronize_session=False)
    )
    gone = not removed.rowcount  # type: ignore[attr-defined]
    if gone or user is None or not user.may_sign_in or not session.is_open(work.now):
        raise TicketNotFound
    return await issuer.for_session(
        session, user, await Roles(work).of_user(user.user_id), until=ticket.token_expires_at
    )
