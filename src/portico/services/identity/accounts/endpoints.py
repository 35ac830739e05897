from typing import Annotated

from fastapi import Response

from portico.contracts.identity import SessionId
from portico.kit import Conditions, Context, Reads, RequestClient, Router, SignedIn, Work, provided
from portico.services.identity.lockout.errors import SignInLocked
from portico.services.identity.passwords.errors import HashingBusy
from portico.services.identity.passwords.resources import PasswordHasher
from portico.services.identity.roles.repository import Roles
from portico.services.identity.sign_ins.commands import Attempt, SignIns
from portico.services.identity.sign_ins.errors import SignInRefused
from portico.services.identity.users import commands
from portico.services.identity.users.domain import Email
from portico.services.identity.users.errors import EmailInvalid, EmailTaken, WrongPassword
from portico.services.identity.users.repository import Users
from portico.services.identity.users.schemas import MeUpdate, PasswordChange, UserCreate, UserRead

router = Router(tags=["accounts"])

Hasher = Annotated[PasswordHasher, provided(PasswordHasher)]
SignInsResource = Annotated[SignIns, provided(SignIns)]

_REFUSALS = (EmailInvalid, EmailTaken, HashingBusy)


@router.post("/register", status_code=201, rate="sign_in", errors=_REFUSALS)
@router.post("/auth/register", status_code=201, rate="sign_in", errors=_REFUSALS)
async def register(
    draft: UserCreate, hasher: Hasher, context: Context, work: Work, device: RequestClient, response: Response
) -> UserRead:
    """Open an account."""
    email = Email.parse(draft.email)
    password_hash = await hasher.hash(draft.password)
    role = context.system.default_role
    user = await commands.register(work, email, draft.names, password_hash=password_hash, role=role, device=device)
    response.headers["location"] = f"{context.system.prefix}/users/{user.user_id}"
    return UserRead.with_roles(user, [role] if role else [])


@router.get("/auth/me")
async def read_me(caller: SignedIn, reads: Reads, conditions: Conditions) -> UserRead:
    """The caller's own account."""
    user = await Users(reads).get(caller.user_id)
    conditions.tag(user)
    return UserRead.with_roles(user, (await Roles(reads).names_by_user([user.user_id]))[user.user_id])


@router.patch("/auth/me")
async def change_me(
    change: MeUpdate, caller: SignedIn, work: Work, conditions: Conditions, device: RequestClient
) -> UserRead:
    """Change what the caller is called."""
    user = await Users(work).get_living(caller.user_id, lock=True)
    conditions.require(user)
    await commands.change_user(work, user, names=change.given_names(), is_active=None, caller=caller, device=device)
    conditions.tag(user)
    return UserRead.with_roles(user, (await Roles(work).names_by_user([user.user_id]))[user.user_id])


@router.post(
    "/auth/me/password",
    status_code=204,
    rate="sign_in",
    stores_answer=False,
    errors=[WrongPassword, SignInLocked, HashingBusy],
)
async def change_password(
    change: PasswordChange,
    caller: SignedIn,
    signing_in: SignInsResource,
    hasher: Hasher,
    reads: Reads,
    work: Work,
    device: RequestClient,
) -> None:
    """Give the caller a new password; the caller's other sessions end."""
    user = await Users(reads).get_living(caller.user_id)
    try:
        known_hash = await signing_in.check_password(
            reads, user, Attempt(user.email or "", change.current_password, device)
        )
    except SignInRefused as refused:
        raise WrongPassword from refused
    password_hash = await hasher.hash(change.new_password)
    await commands.change_password(
        work,
        user.user_id,
        password_hash,
        known_hash=known_hash,
        keep=SessionId(caller.session_id or ""),
        device=device,
    )
