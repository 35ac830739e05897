from typing import Annotated, Any

from fastapi import Request, Response

from portico.kit import Context, Router, provided
from portico.kit.http import public_root
from portico.services.identity.keys.resources import KeyRing
from portico.services.identity.keys.schemas import KeySetRead
from portico.services.identity.settings import IdentitySettings

router = Router(tags=["discovery"], prefixed=False)

Keys = Annotated[KeyRing, provided(KeyRing)]


@router.get("/.well-known/jwks.json")
async def read_key_set(ring: Keys, response: Response) -> KeySetRead:
    """The public keys by which access tokens are verified (RFC 7517); one that signs soon is among them."""
    response.headers["cache-control"] = "public, max-age=60"
    return KeySetRead(keys=await ring.published())


@router.get("/.well-known/oauth-authorization-server")
async def read_metadata(request: Request, context: Context) -> dict[str, Any]:
    """What identity offers to standard clients (RFC 8414)."""
    root = public_root(request, context)
    paths = root + context.system.prefix
    return {
        "issuer": context.settings_of(
            IdentitySettings
        ).issuer,  # what tokens say; standard clients want the https address that ISSUER may name
        "token_endpoint": f"{paths}/oauth/token",
        "introspection_endpoint": f"{paths}/oauth/introspect",
        "revocation_endpoint": f"{paths}/oauth/revoke",
        "jwks_uri": f"{root}/.well-known/jwks.json",
        "grant_types_supported": ["password", "refresh_token", "client_credentials"],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "scopes_supported": sorted(
            {permission for permissions in context.system.roles.values() for permission in permissions}
        ),
    }
