from typing import Annotated

from fastapi import Header

from portico.kit import Router, Unauthorized, provided
from portico.kit.auth import InvalidToken
from portico.kit.http import bearer_token
from portico.services.identity.tokens.resources import OwnVerifier
from portico.services.identity.tokens.schemas import InvalidTokenRead, TokenToValidate, ValidTokenRead

router = Router(tags=["tokens"])

Verifier = Annotated[OwnVerifier, provided(OwnVerifier)]


@router.post("/validate-token", stores_answer=False)
async def validate_token(
    verifier: Verifier,
    asked: TokenToValidate | None = None,
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> ValidTokenRead | InvalidTokenRead:
    """Whether an access token holds at this moment: the one in the body, else that of the Authorization header."""
    try:
        token = asked.token if asked is not None else bearer_token((authorization or "").encode("latin-1", "replace"))
        claims, standing = await verifier.validated(token)
    except InvalidToken as error:
        return InvalidTokenRead(reason=error.reason)
    except Unauthorized:
        return InvalidTokenRead(reason="malformed")
    return ValidTokenRead(
        user_id=claims.subject,
        email=standing.email,
        roles=list(claims.roles),
        permissions=list(claims.scope),
        expires_at=claims.expires_at,
    )
