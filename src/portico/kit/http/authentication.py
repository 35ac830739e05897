"""Finding out who calls, at most once a request and only where it matters."""

from portico.kit.auth.access import Access
from portico.kit.auth.principal import Principal
from portico.kit.auth.tokens import InvalidToken
from portico.kit.auth.verification import TokenVerifier, VerificationUnavailable
from portico.kit.problems import InvalidCredentials, Problem, Unauthorized, Unavailable

_SCHEME = "bearer "
_LONGEST = 8192


class CallerUnknown(Unavailable):
    code = "caller_unknown"
    detail = "Who calls can't be verified right now. Come again in {retry_after:.0f} s."


class Authentication:
    """The caller of one request, by the token in its Authorization header."""

    __slots__ = ("_header", "_problem", "_resolved", "_verifier", "principal")

    def __init__(self, verifier: TokenVerifier, header: bytes | None) -> None:
        self._verifier = verifier
        self._header = header
        self._resolved = header is None
        self._problem: Problem | None = None
        self.principal: Principal | None = None

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
            self.principal = await self._verifier.verify(bearer_token(self._header or b""))
        except InvalidToken as error:
            self._problem = InvalidCredentials(reason=error.reason)
        except VerificationUnavailable as error:
            self._problem = CallerUnknown(retry_after=error.retry_after)
        except Problem as problem:
            self._problem = problem


def bearer_token(header: bytes) -> str:
    """The token of an Authorization header (RFC 6750 section 2.1). Raises Unauthorized."""
    text = header.decode("latin-1")
    if not text.lower().startswith(_SCHEME):
        raise Unauthorized
    token = text[len(_SCHEME) :].strip()
    if not token or not token.isascii() or len(token) > _LONGEST:
        raise InvalidCredentials(reason="malformed")
    return token
