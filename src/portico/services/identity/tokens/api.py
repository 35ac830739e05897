from typing import Annotated

from fastapi import Header, Request, Response

from portico.contracts.identity import SessionId
from portico.kit import Context, FromService, Reads, RequestClient, Router, SignedIn, Unauthorized, Work, inject
from portico.kit.auth import InvalidToken
from portico.kit.http import bearer_token
from portico.services.identity.errors import (
    EmailAlreadyVerified,
    HashingBusy,
    MailedTokenInvalid,
    MailUnavailable,
    PasswordBreached,
    PasswordGuessable,
    PasswordTooLong,
    RefreshRefused,
    SignInLocked,
    SignInRefused,
    TicketNotFound,
    WrongPassword,
)
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens import service
from portico.services.identity.tokens.access_tokens import OwnVerifier, TokenIssuer
from portico.services.identity.tokens.device_tokens import DEVICE_COOKIE, set_device_cookie
from portico.services.identity.tokens.domain import TICKET_LIFETIME
from portico.services.identity.tokens.mailed_tokens import (
    MailedTokens,
    find_mailed_token,
    reset_password,
    verify_email,
)
from portico.services.identity.tokens.schemas import (
    EmailProof,
    InvalidTokenRead,
    MailAccepted,
    PasswordChange,
    PasswordForgotten,
    PasswordReset,
    RedeemedRead,
    Refresh,
    SignedInRead,
    SignIn,
    TicketRead,
    TicketToRedeem,
    TokensRead,
    TokenToValidate,
    ValidTokenRead,
)
from portico.services.identity.tokens.sign_ins import SignInAttempt, SignIns
from portico.services.identity.users.domain import key_of
from portico.services.identity.users.models import User
from portico.services.identity.users.passwords import PasswordHasher
from portico.services.identity.users.repository import Users
from portico.services.identity.users.schemas import UserRead
from portico.services.identity.users.service import change_password

accounts = Router(tags=["accounts"])
sign_ins = Router(tags=["sessions"])
tokens = Router(tags=["tokens"], description="Validation of access tokens", supplementary=True)
tickets = Router(
    prefix="/auth/tickets",
    tags=["tickets"],
    description="One-time tickets for WebSockets and event streams",
    supplementary=True,
)

SignInService = Annotated[SignIns, inject(SignIns)]
Hasher = Annotated[PasswordHasher, inject(PasswordHasher)]
Issuer = Annotated[TokenIssuer, inject(TokenIssuer)]
Verifier = Annotated[OwnVerifier, inject(OwnVerifier)]
Mailed = Annotated[MailedTokens, inject(MailedTokens)]

_SIGN_IN_ERRORS = (SignInRefused, SignInLocked, HashingBusy)


@accounts.post(
    "/auth/me/password",
    status_code=204,
    rate="sign_in",
    stores_response=False,
    errors=[WrongPassword, PasswordTooLong, PasswordGuessable, PasswordBreached, SignInLocked, HashingBusy],
)
async def change_own_password(
    body: PasswordChange,
    caller: SignedIn,
    signing_in: SignInService,
    hasher: Hasher,
    reads: Reads,
    work: Work,
    client: RequestClient,
) -> None:
    """Change the caller's password. The caller's other sessions end."""
    user = await Users(reads).get_undeleted(caller.user_id)
    session_id = SessionId(caller.session_id or "")
    try:
        verified_hash = await signing_in.check_password(
            reads, user, body.current_password, session_id=session_id, client=client
        )
    except SignInRefused as refused:
        raise WrongPassword from refused
    password_hash = await hasher.hash(body.new_password)
    await change_password(
        work, user.user_id, password_hash, verified_hash=verified_hash, keep=session_id, client=client
    )


@accounts.post("/auth/password-reset", status_code=202, rate="sign_in", stores_response=False, errors=[MailUnavailable])
async def request_password_reset(body: PasswordForgotten, mailed: Mailed, work: Work) -> MailAccepted:
    """Mail a token to reset the password, if an account has this address. The response does not say whether one has."""
    await mailed.request(work, "reset_password", key_of(body.email))
    return MailAccepted(detail="If an account has this email address, a mail with a token is on its way.")


@accounts.post(
    "/auth/password-reset/confirm",
    status_code=204,
    rate="sign_in",
    stores_response=False,
    errors=[MailedTokenInvalid, PasswordTooLong, PasswordGuessable, PasswordBreached, HashingBusy],
)
async def confirm_password_reset(
    body: PasswordReset, hasher: Hasher, reads: Reads, work: Work, client: RequestClient
) -> None:
    """Set a new password by a mailed token, once. All of the user's sessions end."""
    await find_mailed_token(reads, body.token, "reset_password")  # before hashing, which is costly
    await reset_password(work, body.token, await hasher.hash(body.password), client=client)


@accounts.post(
    "/auth/email-verification",
    status_code=202,
    rate="sign_in",
    stores_response=False,
    errors=[MailUnavailable, EmailAlreadyVerified],
)
async def request_email_verification(caller: SignedIn, mailed: Mailed, reads: Reads, work: Work) -> MailAccepted:
    """Mail a token to the caller's address, to verify it."""
    user = await Users(reads).get_undeleted(caller.user_id)
    if user.email_verified:
        raise EmailAlreadyVerified
    await mailed.request(work, "verify_email", user.email_key)
    return MailAccepted(detail="A mail with a token is on its way.")


@accounts.post(
    "/auth/email-verification/confirm",
    response_model=UserRead,
    rate="sign_in",
    stores_response=False,
    errors=[MailedTokenInvalid],
)
async def confirm_email_verification(body: EmailProof, work: Work, client: RequestClient) -> User:
    """Verify the address of an account by a mailed token, once."""
    return await verify_email(work, body.token, client=client)


@sign_ins.post("/login", rate="sign_in", stores_response=False, accepts_forms=True, errors=_SIGN_IN_ERRORS)
@sign_ins.post(
    "/auth/login",
    rate="sign_in",
    stores_response=False,
    accepts_forms=True,
    errors=_SIGN_IN_ERRORS,
    framework={"include_in_schema": False},
)
async def sign_in(
    body: SignIn,
    signing_in: SignInService,
    reads: Reads,
    work: Work,
    client: RequestClient,
    request: Request,
    context: Context,
    response: Response,
) -> SignedInRead:
    """Open a session with an email address and a password, sent as JSON or as a form.

    The cookie that the response sets lets the device sign in while others' failed sign-ins lock the account.
    """
    response.headers["cache-control"] = "no-store"
    attempt = SignInAttempt(body.account, body.password, client, request.cookies.get(DEVICE_COOKIE))
    grant = await signing_in.sign_in(reads, work, attempt)
    is_secure = context.settings_of(IdentitySettings).issuer_of(context.system).startswith("https:")
    set_device_cookie(response, signing_in.issue_device_token(attempt), secure=is_secure)
    return SignedInRead.from_grant(grant)


@sign_ins.post("/auth/refresh", stores_response=False, errors=[RefreshRefused])
async def refresh_tokens(body: Refresh, context: Context, client: RequestClient, response: Response) -> TokensRead:
    """Return a new pair of tokens. A refresh token works once; a second use after the leeway ends the session."""
    response.headers["cache-control"] = "no-store"
    grant = await service.refresh(context, body.refresh_token, client)
    if grant is None:
        raise RefreshRefused
    return TokensRead.from_grant(grant)


@tokens.post("/validate-token", stores_response=False)
async def validate_token(
    verifier: Verifier,
    body: TokenToValidate | None = None,
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> ValidTokenRead | InvalidTokenRead:
    """Check an access token: the one in the body, or else the one in the Authorization header."""
    try:
        token = body.token if body is not None else bearer_token((authorization or "").encode("latin-1", "replace"))
        valid = await verifier.validate(token)
    except InvalidToken as error:
        return InvalidTokenRead(reason=error.reason)
    except Unauthorized:
        return InvalidTokenRead(reason="malformed")
    return ValidTokenRead(
        user_id=valid.claims.subject,
        email=valid.email,
        roles=list(valid.claims.roles),
        permissions=list(valid.claims.scope),
        expires_at=valid.claims.expires_at,
    )


@tickets.post("", status_code=201, stores_response=False)
async def create_ticket(caller: SignedIn, work: Work, response: Response) -> TicketRead:
    """Return a ticket to pass as `?ticket=` where a header cannot be set. It works once, within 30 seconds."""
    response.headers["cache-control"] = "no-store"
    return TicketRead(ticket=service.issue_ticket(work, caller), expires_in=int(TICKET_LIFETIME.total_seconds()))


@tickets.post("/redeem", stores_response=False, errors=[TicketNotFound])
async def redeem_ticket(body: TicketToRedeem, _caller: FromService, work: Work, issuer: Issuer) -> RedeemedRead:
    """Exchange a ticket for an access token, once; for services."""
    access = await service.redeem_ticket(work, body.ticket, issuer)
    return RedeemedRead(access_token=access.text, expires_in=access.expires_in)
