"""Finding out who calls, at most once a request and only where it matters."""

from portico.kit.auth.access import Access
from portico.kit.auth.principal import Principal
from portico.kit.auth.tokens import InvalidToken
from portico.kit.auth.verification import TokenVerifier, VerificationUnavailable
from portico.kit.foundation.problems import InvalidCredentials, Problem, Unauthorized, Unavailable

_SCHEME = "bearer "
_LONGEST = 8192
_LONGEST_TICKET = 128
TICKET = "ticket"
"""the query parameter"""


class CallerUnknown(Unavailable):
    detail = "The access token cannot be verified at the moment. Retry in {retry_after:.0f} seconds."


class Authentication:
    """The caller of one request, by the token in its Authorization header, or by a ticket where one may be offered."""

    __slots__ = ("_header", "_problem", "_resolved", "_ticket", "_verifier", "principal", "token")

    def __init__(self, verifier: TokenVerifier, header: bytes | None) -> None:
        self._verifier = verifier
        self._header = header
        self._resolved = header is None
        self._problem: Problem | None = None
        self._ticket: str | None = None
        self.principal: Principal | None = None
        self.token: str | None = None

    def offer_ticket(self, ticket: str) -> None:
        """Let a one-time ticket stand for the token that a browser can't send here. Of two credentials neither is believed."""
        if self._header is None:
            self._ticket = ticket
        else:
            self._header = b""
        self._resolved = False

    async def admit(self, access: Access) -> None:
        """Find the caller and hold it against `access`.

        Raises Unauthorized, Forbidden, or CallerUnknown where identity can't be asked.
        """
        await self.resolve()
        if self._problem is not None:
            raise self._problem
        if self.principal is None:
            if access.needs_caller:
                raise Unauthorized
            return
        access.admit(self.principal)

    async def resolve(self) -> None:
        """Verify the token, where there is one; what is wrong with it is kept for who needs the caller."""
        if self._resolved:
            return
        self._resolved = True
        try:
            self.token = await self._given_token()
            self.principal = await self._verifier.verify(self.token)
        except InvalidToken as error:
            self._problem = InvalidCredentials(reason=error.reason)
        except VerificationUnavailable as error:
            self._problem = CallerUnknown(retry_after=error.retry_after)
        except Problem as problem:
            self._problem = problem

    async def look_again(self, access: Access) -> None:
        """Check the caller against the current `access`.

        Raises InvalidToken, Forbidden, or VerificationUnavailable where that can't be known.
        """
        if self.token is not None:
            access.admit(await self._verifier.verify(self.token))

    async def _given_token(self) -> str:
        if self._ticket is None:
            return bearer_token(self._header or b"")
        if not 0 < len(self._ticket) <= _LONGEST_TICKET:
            raise InvalidCredentials(reason="malformed")
        return await self._verifier.redeem_ticket(self._ticket)


def bearer_token(header: bytes) -> str:
    """The token of an Authorization header (RFC 6750 section 2.1). Raises Unauthorized."""
    text = header.decode("latin-1")
    if not text.lower().startswith(_SCHEME):
        raise Unauthorized
    token = text[len(_SCHEME) :].strip()
    if not token or not token.isascii() or len(token) > _LONGEST:
        raise InvalidCredentials(reason="malformed")
    return token
