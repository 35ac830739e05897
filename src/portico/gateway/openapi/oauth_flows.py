"""OAuth flows in the document of the system, so that Swagger UI and generated clients can sign users in."""

from typing import Any, Final

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105  a path
_BEARER: Final[dict[str, list[str]]] = {"bearer": []}
_OAUTH: Final[dict[str, list[str]]] = {"oauth2": []}
_SCOPES: Final = {"openid": "Know who the user is", "api": "Act for the user where no permission is needed"}


def add_oauth_flows(document: dict[str, Any], token_path: str) -> None:
    """Add the password flow and the authorization code flow to a document, for all operations that take a token.

    Args:
        document: The document of the system.
        token_path: The path of the token endpoint. The authorization endpoint is beside it.
    """
    urls = {"tokenUrl": token_path, "refreshUrl": token_path}
    authorize = token_path.removesuffix("token") + "authorize"
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["oauth2"] = {
        "type": "oauth2",
        "description": "With an email address and a password, or as a registered client with PKCE.",
        "flows": {
            "password": {**urls, "scopes": {}},
            "authorizationCode": {**urls, "authorizationUrl": authorize, "scopes": dict(_SCOPES)},
        },
    }
    for item in document["paths"].values():
        for operation in item.values():
            requirements = operation.get("security", []) if isinstance(operation, dict) else []
            if _BEARER in requirements:
                requirements.insert(requirements.index(_BEARER) + 1, dict(_OAUTH))
