"""Authentication of a request's caller, at most once and only if needed."""

from portico.kit.auth.access import Access
from portico.kit.auth.principal import Principal
from portico.kit.auth.tokens import InvalidToken
from portico.kit.auth.verification import TokenVerifier, VerificationUnavailable
from portico.kit.foundation.problems import InvalidCredentials, Problem, Unauthorized, Unavailable

_SCHEME = "bearer "
_MAX_TOKEN_LENGTH = 8192
_MAX_TICKET_LENGTH = 128
TICKET = "ticket"
"""Name of the query parameter."""


class CallerUnknown(Unavailable):
    detail = "The access token cannot be verified at the moment. Retry in {retry_after:.0f} seconds."


class Authentication:
    """The caller of one request, authenticated by its Authorization header or, where allowed, by a one-time ticket."""

    __slots__ = ("_header", "_problem", "_resolved", "_ticket", "_verifier", "principal", "token")

    def __init__(self, verifier: TokenVerifier, header: bytes | None) -> None:
        self._verifier = verifier
        self._header = header
        self._resolved = header is None
        self._problem: Problem | None = None
        self._ticket: str | None = None
        self.principal: Principal | None = None
        self.token: str | None = None

    def use_ticket(self, ticket: str) -> None:
        """Use a one-time ticket, because a browser cannot send a token here. A request with both is rejected."""
        if self._header is None:
            self._ticket = ticket
        else:
            self._header = b""
        self._resolved = False

    async def authorize(self, access: Access) -> None:
        """Authenticate the caller and check that `access` allows it.

        Raises:
            Unauthorized: a caller is required, or the credentials are not valid.
            Forbidden: the caller lacks a permission.
            CallerUnknown: the token cannot be verified at the moment.
        """
        await self.resolve()
        if self._problem is not None:
            raise self._problem
        if self.principal is None:
            if access.needs_caller:
                raise Unauthorized
            return
        access.check(self.principal)

    async def resolve(self) -> None:
        """Verify the token, if there is one. A failure is stored and raised once a caller is needed."""
        if self._resolved:
            return
        self._resolved = True
        try:
            self.token = await self._find_token()
            self.principal = await self._verifier.verify(self.token)
        except InvalidToken as error:
            self._problem = InvalidCredentials(reason=error.reason)
        except VerificationUnavailable as error:
            self._problem = CallerUnknown(retry_after=error.retry_after)
        except Problem as problem:
            self._problem = problem

    async def recheck(self, access: Access) -> None:
        """Check the caller against `access` again, for a connection that stays open.

        Raises:
            InvalidToken: the token has expired or was revoked.
            Forbidden: the caller lacks a permission.
            VerificationUnavailable: the token cannot be verified at the moment.
        """
        if self.token is not None:
            access.check(await self._verifier.verify(self.token))

    async def _find_token(self) -> str:
        if self._ticket is None:
            return bearer_token(self._header or b"")
        if not 0 < len(self._ticket) <= _MAX_TICKET_LENGTH:
            raise InvalidCredentials(reason="malformed")
        return await self._verifier.redeem_ticket(self._ticket)


def bearer_token(header: bytes) -> str:
    """Return the token of an Authorization header (RFC 6750 section 2.1). Raises Unauthorized."""
    text = header.decode("latin-1")
    if not text.lower().startswith(_SCHEME):
        raise Unauthorized
    token = text[len(_SCHEME) :].strip()
    if not token or not token.isascii() or len(token) > _MAX_TOKEN_LENGTH:
        raise InvalidCredentials(reason="malformed")
    return token
