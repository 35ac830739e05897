"""Forms and responses of the OAuth endpoints over HTTP (RFC 6749)."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import parse_qsl, unquote_plus

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from portico.kit.http import InvalidClient, OAuthError
from portico.services.identity.tokens.domain import ClientCredentials

CONTENT_TYPE: Final = "application/x-www-form-urlencoded"
MAX_TOKEN_LENGTH: Final = 16_384
_MAX_FIELDS: Final = 32
_NO_STORE: Final = {"cache-control": "no-store", "pragma": "no-cache"}  # RFC 6749 section 5.1


@dataclass(frozen=True, slots=True)
class OAuthForm:
    """The fields of a form, without empty ones, and the client's credentials from the form or from HTTP Basic."""

    fields: dict[str, str]
    authorization: str

    @classmethod
    async def read(cls, request: Request) -> Self:
        """Parse the request's body. Raises OAuthError, also for a repeated field (RFC 6749 section 3.2)."""
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != CONTENT_TYPE:
            raise OAuthError(reason=f"send the body as {CONTENT_TYPE}")
        try:
            pairs = parse_qsl(
                (await request.body()).decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict"
            )
        except ValueError as error:
            raise OAuthError(reason="the form cannot be decoded") from error
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise OAuthError(reason="a field was sent twice")
        if any("\0" in text for text in (*fields, *fields.values())):
            raise OAuthError(reason="text must not contain the character U+0000")
        return cls({name: value for name, value in fields.items() if value}, request.headers.get("authorization", ""))

    def required(self, name: str, *, max_length: int = 1024) -> str:
        """Return the field `name`. Raises OAuthError if it is missing or too long."""
        value = self.fields.get(name)
        if value is None:
            raise OAuthError(reason=f"{name} is missing")
        if len(value) > max_length:
            raise OAuthError(reason=f"{name} is too long")
        return value

    @property
    def scope(self) -> set[str]:
        """The requested scope; empty if none was requested."""
        return set(self.fields.get("scope", "").split())

    @property
    def credentials(self) -> ClientCredentials | None:
        """The client's credentials, or None if it sent none. Raises OAuthError."""
        if self.authorization[:6].lower() == "basic ":
            return _basic_credentials(self.authorization[6:].strip())
        if "client_id" in self.fields and "client_secret" in self.fields:
            return ClientCredentials(self.fields["client_id"], self.fields["client_secret"])
        return None


def form_schema(*required: str, **fields: str | list[str]) -> dict[str, Any]:
    """Return the OpenAPI description of a form: each field with its description or its values."""
    properties = {
        name: {"type": "string", "minLength": 1, **({"description": each} if isinstance(each, str) else {"enum": each})}
        for name, each in fields.items()
    }
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"requestBody": {"required": True, "content": {CONTENT_TYPE: {"schema": schema}}}}


def no_store_response(body: BaseModel | None = None) -> JSONResponse:
    """Return a successful response that must not be stored."""
    return JSONResponse({} if body is None else body.model_dump(exclude_none=True), headers=_NO_STORE)


def _basic_credentials(encoded: str) -> ClientCredentials:
    try:
        name, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise InvalidClient(reason="the Basic credentials cannot be decoded") from error
    if not colon:
        raise InvalidClient(reason="the Basic credentials cannot be decoded")
    return ClientCredentials(unquote_plus(name), unquote_plus(secret))
