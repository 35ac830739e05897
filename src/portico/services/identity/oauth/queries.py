from sqlalchemy import select

from portico.kit import Reader, ServiceContext
from portico.kit.auth import InvalidToken
from portico.services.identity.oauth.schemas import Introspection
from portico.services.identity.sessions.models import RefreshToken, Session
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.domain import digest_of
from portico.services.identity.tokens.resources import OwnVerifier
from portico.services.identity.users.models import User


async def introspect(context: ServiceContext, reads: Reader, token: str) -> Introspection:
    """What is known of an access or refresh token; of one that is of no use, only that."""
    try:
        claims, standing = await context.resource(OwnVerifier).validated(token)
    except InvalidToken:
        return await _introspect_refresh_token(context, reads, token)
    return Introspection(
        active=True,
        scope=" ".join(claims.scope),
        client_id=context.system.name if claims.session_id else claims.subject.partition(":")[2],
        username=standing.email,
        token_type="Bearer",  # noqa: S106  the scheme's name
        exp=int(claims.expires_at.timestamp()),
        iat=int(claims.issued_at.timestamp()),
        sub=claims.subject,
        aud=context.system.name,
        iss=context.settings_of(IdentitySettings).issuer,
        jti=claims.token_id,
    )


async def _introspect_refresh_token(context: ServiceContext, reads: Reader, token: str) -> Introspection:
    found = (
        await reads.execute(
            select(RefreshToken, Session, User)
            .join(Session, Session.session_id == RefreshToken.session_id)
            .join(User, User.user_id == Session.user_id)
            .where(RefreshToken.digest == digest_of(token))
        )
    ).first()
    if found is None:
        return Introspection(active=False)
    refresh_token, session, user = found.RefreshToken, found.Session, found.User
    if refresh_token.used_at is not None or not session.is_open(reads.now) or not user.may_sign_in:
        return Introspection(active=False)
    return Introspection(
        active=True,
        username=user.email,
        exp=int(refresh_token.expires_at.timestamp()),
        iat=int(refresh_token.issued_at.timestamp()),
        sub=user.user_id,
        iss=context.settings_of(IdentitySettings).issuer,
    )
