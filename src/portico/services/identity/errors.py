"""Errors that identity's endpoints return."""

from portico.contracts.identity import SessionId, UserId
from portico.kit import Conflict, Forbidden, NotFound, TooManyRequests, Unauthorized, Unavailable, Unprocessable
from portico.kit.http import OAuthError


class EmailInvalid(Unprocessable):
    detail = "This is not a valid email address: {reason}."
    location = ("body", "email")

    reason: str


class EmailTaken(Conflict):
    detail = "Email already registered. Sign in, or use another address."


class UserNotFound(NotFound):
    detail = "User not found: {user_id} does not exist."

    user_id: UserId


class UserDeleted(Conflict):
    detail = "This account was deleted and cannot be restored."


class LastAdministrator(Conflict):
    detail = "This is the last administrator. Give another user the role first."


class BeyondOwnRights(Forbidden):
    """The caller grants a permission that the caller does not have, or acts on a user who has one."""

    detail = "This requires the permission '{permission}', which the caller does not have."

    permission: str


class WrongPassword(Forbidden):
    detail = "The current password is wrong."


class RoleTaken(Conflict):
    detail = "The role '{name}' already exists."

    name: str


class RoleUnknown(Unprocessable):
    detail = "The role '{name}' does not exist. Existing roles: {listed}."
    location = ("body", "roles")

    name: str
    existing: list[str]

    def sentence(self) -> str:
        return self.detail.format(name=self.name, listed=", ".join(self.existing) or "none")


class MailUnavailable(NotFound):
    """The system has no service that sends mails."""

    detail = (
        "The system '{system}' has no notifications service, so no mail can be sent. Ask an operator for a token: "
        "portico users reset-password EMAIL."
    )

    system: str


class EmailUnknown(NotFound):
    detail = "No active account has this email address."


class EmailAlreadyVerified(Conflict):
    detail = "The email address of this account is verified already."


class MailedTokenInvalid(Unprocessable):
    detail = "The token was used, has expired or was replaced. Request a new mail."
    location = ("body", "token")


class PasswordTooLong(Unprocessable):
    """bcrypt ignores what is beyond its limit, so a longer password would be weaker than it looks."""

    detail = "A password may have at most {limit} bytes. Choose a shorter one."
    location = ("body", "password")

    limit: int


class PasswordGuessable(Unprocessable):
    detail = "This password is one of the most common ones, which attackers try first. Choose another one."
    location = ("body", "password")


class PasswordBreached(Unprocessable):
    detail = "This password is known from a data breach. Choose another one, and change it wherever it is used."
    location = ("body", "password")


class HashingBusy(Unavailable):
    """The queue for password hashing is full."""

    code = "sign_in_busy"
    detail = "Too many sign-ins are in progress. Retry in {retry_after:.0f} seconds."


class SignInRefused(Unauthorized):
    """Wrong credentials. The response is the same for an unknown email address and a wrong password."""

    detail = "Incorrect email or password."


class SignInLocked(TooManyRequests):
    detail = "Too many failed sign-ins. Retry in {retry_after:.0f} seconds."


class RefreshRefused(Unauthorized):
    detail = "The refresh token is not valid. Sign in again."


class SessionNotFound(NotFound):
    detail = "The caller has no session {session_id}."

    session_id: SessionId


class ClientNotFound(NotFound):
    detail = "The OAuth client {client_id} does not exist."

    client_id: str


class TicketNotFound(NotFound):
    detail = "The ticket was used, has expired or never existed. Request a new one."


class InvalidGrant(OAuthError):
    """The password, code or refresh token is not valid, or was issued to another client (RFC 6749 section 5.2)."""

    code = "invalid_grant"


class InvalidScope(OAuthError):
    code = "invalid_scope"


class UnauthorizedClient(OAuthError):
    code = "unauthorized_client"


class UnsupportedGrantType(OAuthError):
    code = "unsupported_grant_type"
    detail = "use {reason}"


class KeyDecryptionFailed(RuntimeError):
    """A stored signing key cannot be decrypted: SECRET_KEY differs from the one it was encrypted with."""

    def __init__(self, kid: str) -> None:
        super().__init__(
            f"the signing key {kid} cannot be decrypted with this SECRET_KEY: restore the former SECRET_KEY, "
            "or replace all keys with `portico keys rotate --withdraw`, which signs all users out"
        )


class SharedSecretInUse(RuntimeError):
    """Keys cannot be rotated because tokens are signed with a shared secret."""

    def __init__(self) -> None:
        super().__init__("JWT_ALGORITHM=HS256 signs with JWT_SECRET: change JWT_SECRET and restart to replace it")
