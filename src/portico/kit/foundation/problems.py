"""Typed errors for the caller. `portico.kit.http` renders them as problem details (RFC 9457).

Problem
├── BadRequest 400
├── Unauthorized 401
├── Forbidden 403
│   └── PermissionMissing
├── NotFound 404
├── MethodNotAllowed 405
├── Conflict 409
├── PreconditionFailed 412
├── ContentTooLarge 413
├── UnsupportedMediaType 415
├── Unprocessable 422
├── TooManyRequests 429
├── BadGateway 502
├── Unavailable 503
└── GatewayTimeout 504
"""

import dataclasses
import math
import re
from typing import Any, ClassVar, dataclass_transform

RESERVED = frozenset({"type", "title", "status", "detail", "instance", "code", "request_id", "errors", "headers"})
"""Members that every problem document has. A field cannot have such a name."""

_MAX_VALUE_LENGTH = 64
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass_transform(kw_only_default=True)
class Problem(Exception):
    """Error response with a status, a stable code and the data that explains it.

    A subclass sets `status` and `detail`, a format string over its fields. Its code comes from the class name
    (`BookAlreadyLent`: `book_already_lent`) unless it sets `code`. Its annotated fields are keyword arguments and become
    members of the problem document, so they must not contain secrets.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    detail: ClassVar[str] = "An internal error occurred. The logs contain it under the request id."

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in cls.__dict__:
            cls.code = _WORD_START.sub("_", cls.__name__.lstrip("_")).lower()
        doc = cls.__doc__
        dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)
        cls.__doc__ = doc
        if taken := RESERVED.intersection(cls.field_names()):
            raise TypeError(
                f"{cls.__name__}: every problem document already has the member {min(taken)!r}; choose another field name"
            )

    def __post_init__(self) -> None:
        super().__init__(self.sentence())

    def data(self) -> dict[str, Any]:
        """Return the fields by name: the extension members of the problem document."""
        return {name: getattr(self, name) for name in self.field_names()}

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Return the names of the extension members."""
        if cls is Problem:
            return ()
        return tuple(each.name for each in dataclasses.fields(cls))  # type: ignore[arg-type]  # subclasses are dataclasses

    def sentence(self) -> str:
        """Return the detail with the values of the fields."""
        return self.detail.format(**self.data())

    @property
    def title(self) -> str:
        return self.code.replace("_", " ").capitalize()

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response, by lower-case name."""
        return {}


class BadRequest(Problem):
    status = 400
    code = "malformed_request"
    detail = "The request could not be read: {reason}."

    reason: str


class Unauthorized(Problem):
    """The request has no valid credentials (RFC 6750 section 3)."""

    status = 401
    detail = "Sign in and send the access token as 'Authorization: Bearer <token>'."

    @property
    def headers(self) -> dict[str, str]:
        return {"www-authenticate": "Bearer"}


class InvalidCredentials(Unauthorized):
    """The access token is not valid, for the reason given (RFC 6750 section 3.1, invalid_token)."""

    code = "invalid_token"
    detail = "The access token is not valid: {reason}. Refresh it or sign in again."

    reason: str

    @property
    def headers(self) -> dict[str, str]:
        return {"www-authenticate": f'Bearer error="invalid_token", error_description="{self.reason}"'}


class Forbidden(Problem):
    status = 403
    detail = "The caller may not do this."


class PermissionMissing(Forbidden):
    """The caller does not have the required permission (RFC 6750 section 3.1, insufficient_scope)."""

    detail = "This needs the permission '{permission}', which the caller does not have."

    permission: str

    @property
    def headers(self) -> dict[str, str]:
        return {"www-authenticate": f'Bearer error="insufficient_scope", scope="{self.permission}"'}


class NotFound(Problem):
    status = 404
    detail = "The resource does not exist."


class MethodNotAllowed(Problem):
    status = 405
    detail = "This resource supports only {allowed}."

    allowed: str

    @property
    def headers(self) -> dict[str, str]:
        return {"allow": self.allowed}


class Conflict(Problem):
    status = 409
    detail = "The state of the resource does not allow this."


class PreconditionFailed(Problem):
    """The resource has changed since the caller read it (RFC 9110 section 13.1)."""

    status = 412
    detail = "The resource has changed since it was read. Read it again and repeat the change."


class ContentTooLarge(Problem):
    status = 413
    detail = "The body is larger than {limit} bytes."

    limit: int


class UnsupportedMediaType(Problem):
    status = 415
    detail = "Send the body as {expected}."

    expected: str


class UnsupportedContentEncoding(Problem):
    """The body is compressed (RFC 9110 section 15.5.16). `Accept-Encoding` says what is accepted (section 12.5.3)."""

    status = 415
    detail = "The body has the content coding '{encoding}'. Send it without a Content-Encoding."

    encoding: str

    @property
    def headers(self) -> dict[str, str]:
        return {"accept-encoding": "identity"}


def check_content_encoding(encoding: str | None) -> None:
    """Raise UnsupportedContentEncoding if the `Content-Encoding` of a body names a coding other than identity."""
    if encoding is not None and encoding.strip().lower() not in {"", "identity"}:
        raise UnsupportedContentEncoding(encoding=encoding[:_MAX_VALUE_LENGTH])


class Unprocessable(Problem):
    """The request is well formed, but its values are not valid.

    `location` is the path of the invalid value, as in the member `errors`: `("query", "cursor")`, `("body", "items")`.
    It is empty if no single value is invalid.
    """

    status = 422
    code = "invalid_request"
    detail = "The request is well formed, but not valid."
    location: ClassVar[tuple[str, ...]] = ()


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class _Retryable(Problem):
    """Error that says when to retry, in seconds."""

    retry_after: float = 1.0

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": str(max(1, math.ceil(self.retry_after)))}


class TooManyRequests(_Retryable):
    status = 429
    detail = "Too many requests. Retry in {retry_after:.0f} seconds."


class BadGateway(Problem):
    status = 502
    detail = "The upstream service did not return a valid response."


class Unavailable(_Retryable):
    status = 503
    detail = "The service is temporarily unavailable. Retry in {retry_after:.0f} seconds."


class GatewayTimeout(Problem):
    status = 504
    code = "timeout"
    detail = "The response took longer than allowed."
