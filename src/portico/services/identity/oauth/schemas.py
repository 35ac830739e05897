"""What standard clients send and get (RFC 6749): forms, client credentials, answers in the standards' own spelling."""

import base64
import binascii
import math
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from typing import Any, Final, ParamSpec
from urllib.parse import parse_qsl, unquote_plus

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from portico.services.identity.oauth.domain import Client
from portico.services.identity.oauth.errors import OAuthError, OAuthRefusal

FORM: Final = "application/x-www-form-urlencoded"
MOST_FIELDS: Final = 32
LONGEST_TOKEN_FIELD: Final = 16_384
P = ParamSpec("P")
NEVER_STORED = {"cache-control": "no-store", "pragma": "no-cache"}  # RFC 6749 section 5.1


class OAuthRefused(BaseModel):
    """A refusal (RFC 6749 section 5.2)."""

    error: OAuthError
    error_description: str


class OAuthTokens(BaseModel):
    """Tokens (RFC 6749 section 5.1)."""

    access_token: str
    token_type: str = Field(examples=["Bearer"])
    expires_in: int
    refresh_token: str | None = None
    scope: str


class Introspection(BaseModel):
    """What is known of a token (RFC 7662 section 2.2); of one that is not active, nothing."""

    active: bool
    scope: str | None = None
    client_id: str | None = None
    username: str | None = None
    token_type: str | None = None
    exp: int | None = None
    iat: int | None = None
    sub: str | None = None
    aud: str | None = None
    iss: str | None = None
    jti: str | None = None


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of an endpoint, for its document."""
    return {status: {"model": OAuthRefused, "description": "Refused"} for status in statuses}


def form_of(*required: str, **fields: str | list[str]) -> dict[str, Any]:
    """A form for the document: each field with what it is for, or with the values there are."""
    properties = {
        name: {"type": "string", "minLength": 1, **({"description": said} if isinstance(said, str) else {"enum": said})}
        for name, said in fields.items()
    }
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"requestBody": {"required": True, "content": {FORM: {"schema": schema}}}}


def answer(body: BaseModel) -> JSONResponse:
    """A success, that nobody may store."""
    return JSONResponse(body.model_dump(exclude_none=True), headers=NEVER_STORED)


def refused_properly(
    endpoint: Callable[P, Coroutine[Any, Any, JSONResponse]],
) -> Callable[P, Coroutine[Any, Any, JSONResponse]]:
    """Answer an OAuthRefusal in the shape that standard clients understand."""

    @wraps(endpoint)
    async def answering(*args: P.args, **kwargs: P.kwargs) -> JSONResponse:
        try:
            return await endpoint(*args, **kwargs)
        except OAuthRefusal as refusal:
            return _refused(refusal)

    return answering


def _refused(refusal: OAuthRefusal) -> JSONResponse:
    headers = dict(NEVER_STORED)
    if refusal.error == "invalid_client":
        headers["www-authenticate"] = 'Basic realm="portico"'
    if refusal.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(refusal.retry_after)))
    return JSONResponse({"error": refusal.error, "error_description": refusal.description}, refusal.status, headers)


async def read_form(request: Request) -> dict[str, str]:
    """The form's fields. A field sent twice is refused (RFC 6749 section 3.2); an empty one counts as left out."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise OAuthRefusal("invalid_request", f"send the body as {FORM}")
    try:
        pairs = parse_qsl(
            (await request.body()).decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"
        )
    except ValueError as error:
        raise OAuthRefusal("invalid_request", "the form can't be decoded") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise OAuthRefusal("invalid_request", "a field was sent twice")
    if any("\0" in text for text in (*fields, *fields.values())):
        raise OAuthRefusal("invalid_request", "text must not hold the character U+0000")
    return {name: value for name, value in fields.items() if value}


def required(fields: Mapping[str, str], name: str, *, longest: int = 1024) -> str:
    """The field `name`. Raises OAuthRefusal where it is missing or too long."""
    value = fields.get(name)
    if value is None or len(value) > longest:
        raise OAuthRefusal("invalid_request", f"{name} is missing" if value is None else f"{name} is too long")
    return value


def client_of(request: Request, fields: Mapping[str, str]) -> Client | None:
    """The client's credentials, by HTTP Basic or in the form; None where it sent none."""
    header = request.headers.get("authorization", "")
    if header[:6].lower() == "basic ":
        return _basic(header[6:].strip())
    if "client_id" in fields and "client_secret" in fields:
        return Client(fields["client_id"], fields["client_secret"])
    return None


def _basic(encoded: str) -> Client:
    try:
        name, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise OAuthRefusal("invalid_client", "the Basic credentials can't be read") from error
    if not colon:
        raise OAuthRefusal("invalid_client", "the Basic credentials can't be read")
    return Client(unquote_plus(name), unquote_plus(secret))
