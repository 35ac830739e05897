from typing import Annotated

from fastapi import Response

from portico.kit import Reads, RequestClient, Router, Work, provided
from portico.services.identity.lockout.errors import SignInLocked
from portico.services.identity.passwords.errors import HashingBusy
from portico.services.identity.sessions.schemas import SignedInRead
from portico.services.identity.sign_ins.commands import Attempt, SignIns
from portico.services.identity.sign_ins.errors import SignInRefused
from portico.services.identity.sign_ins.schemas import SignIn

router = Router(tags=["sessions"])
SignInsResource = Annotated[SignIns, provided(SignIns)]
_REFUSALS = (SignInRefused, SignInLocked, HashingBusy)


@router.post("/login", rate="sign_in", stores_answer=False, accepts_forms=True, errors=_REFUSALS)
@router.post("/auth/login", rate="sign_in", stores_answer=False, accepts_forms=True, errors=_REFUSALS)
async def sign_in(
    attempt: SignIn, signing_in: SignInsResource, reads: Reads, work: Work, device: RequestClient, response: Response
) -> SignedInRead:
    """Open a session with an email address and a password, sent as JSON or as a form."""
    response.headers["cache-control"] = "no-store"
    grant = await signing_in.sign_in(reads, work, Attempt(attempt.who, attempt.password, device))
    return SignedInRead.of_grant(grant)
