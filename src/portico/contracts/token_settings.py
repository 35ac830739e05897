"""Settings of tokens that the issuer and all verifiers must agree on."""

from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, BeforeValidator, Field

from portico.kit.settings import ServiceSettings

if TYPE_CHECKING:
    from portico.kit.service_context import SystemInfo


def _algorithm(text: Any) -> Any:
    return {"eddsa": "EdDSA"}.get(text.strip().lower(), text.strip().upper()) if isinstance(text, str) else text


def _public_url(text: Any) -> Any:
    if text is None:
        return None
    parts = urlsplit(str(text).strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise ValueError("write the address that clients use, such as https://api.shop.example")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("write scheme, host and port only, as in https://api.shop.example")
    return f"{parts.scheme}://{parts.netloc.lower()}"


class TokenSettings(ServiceSettings):
    """Settings that the issuer of tokens and all verifiers must agree on."""

    public_url: Annotated[str | None, BeforeValidator(_public_url)] = Field(
        None,
        max_length=255,
        validation_alias=AliasChoices("PUBLIC_URL", "ISSUER"),
        description="Address of the gateway for clients, such as https://api.shop.example, and the issuer (`iss`) of "
        "tokens; http://localhost with the gateway's port if unset",
    )
    jwt_algorithm: Annotated[Literal["EdDSA", "ES256", "RS256", "HS256"], BeforeValidator(_algorithm)] = Field(
        "EdDSA",
        validation_alias="JWT_ALGORITHM",
        description="Signature algorithm of access tokens; with HS256 every verifier asks identity",
    )
    token_verification: Annotated[
        Literal["keys", "ask"] | None,
        BeforeValidator(lambda text: text.strip().lower() if isinstance(text, str) else text),
    ] = Field(
        None,
        validation_alias="TOKEN_VERIFICATION",
        description="Whether services verify tokens by identity's public keys (keys) or ask identity each time (ask); the "
        "system's choice if unset",
    )

    def issuer_of(self, system: "SystemInfo") -> str:
        """Return the issuer of the system's tokens."""
        return self.public_url or system.local_url
