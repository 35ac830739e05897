"""Typed errors that a caller is told about, rendered as RFC 9457 problem details by the HTTP face.

Problem
├── BadRequest 400            ├── Conflict 409               ├── TooManyRequests 429
├── Unauthorized 401          ├── PreconditionFailed 412     ├── BadGateway 502
├── Forbidden 403             ├── ContentTooLarge 413        ├── Unavailable 503
│   └── PermissionMissing     ├── UnsupportedMediaType 415   └── GatewayTimeout 504
├── NotFound 404              └── Unprocessable 422
└── MethodNotAllowed 405
"""

import dataclasses
import math
from typing import Any, ClassVar, dataclass_transform

RESERVED = frozenset({"type", "title", "status", "detail", "instance", "code", "request_id", "errors", "headers"})
"""The members that every problem document has; a field can't be called so."""


@dataclass_transform(kw_only_default=True)
class Problem(Exception):
    """An answer that is not a success, with its status, a stable code and the data that explains it.

    A subclass states `status`, `code` and `detail` (a format string over its fields); its annotated fields are keyword
    arguments and become members of the problem document. Data that names a secret has no place in them.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    detail: ClassVar[str] = "Something went wrong here. The request id finds it in the logs."

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        doc = cls.__doc__
        dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)
        cls.__doc__ = doc
        if taken := RESERVED.intersection(cls.field_names()):
            raise TypeError(
                f"{cls.__name__}: every problem has the member {min(taken)!r} already; name the field otherwise"
            )

    def __post_init__(self) -> None:
        super().__init__(self.sentence())

    def data(self) -> dict[str, Any]:
        """The fields by name: the extension members of the problem document."""
        return {name: getattr(self, name) for name in self.field_names()}

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """The names of the extension members."""
        return tuple(getattr(cls, "__dataclass_fields__", ()))

    def sentence(self) -> str:
        """The detail with the fields filled in."""
        return self.detail.format(**self.data())

    @property
    def title(self) -> str:
        return self.code.replace("_", " ").capitalize()

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to this answer, by lower-case name."""
        return {}


class BadRequest(Problem):
    status = 400
    code = "malformed_request"
    detail = "The request could not be read: {reason}."

    reason: str


class Unauthorized(Problem):
    """Who calls is not known (RFC 6750 section 3)."""

    status = 401
    code = "unauthorized"
    detail = "Sign in and send the access token as 'Authorization: Bearer <token>'."

    @property
    def headers(self) -> dict[str, str]:
        return {"www-authenticate": "Bearer"}


class InvalidCredentials(Unauthorized):
    """A token was sent and is of no use; `reason` says why."""

    code = "invalid_token"
    detail = "The access token is of no use: {reason}. Sign in again or refresh it."

    reason: str

    @property
    def headers(self) -> dict[str, str]:
        return {"www-authenticate": f'Bearer error="invalid_token", error_description="{self.reason}"'}


class Forbidden(Problem):
    status = 403
    code = "forbidden"
    detail = "The caller may not do this."


class PermissionMissing(Forbidden):
    """The caller is known and lacks a permission (RFC 6750 section 3.1, insufficient_scope)."""

    code = "permission_missing"
    detail = "This needs the permission '{permission}', which the caller does not have."

    permission: str

    @property
    def headers(self) -> dict[str, str]:
        return {"www-authenticate": f'Bearer error="insufficient_scope", scope="{self.permission}"'}


class NotFound(Problem):
    status = 404
    code = "not_found"
    detail = "There is nothing here."


class MethodNotAllowed(Problem):
    status = 405
    code = "method_not_allowed"
    detail = "This resource answers {allowed}."

    allowed: str

    @property
    def headers(self) -> dict[str, str]:
        return {"allow": self.allowed}


class Conflict(Problem):
    status = 409
    code = "conflict"
    detail = "The state of the resource does not allow this."


class PreconditionFailed(Problem):
    """The resource is no longer what the caller saw (RFC 9110 section 13.1)."""

    status = 412
    code = "precondition_failed"
    detail = "The resource has changed since it was read. Read it again and repeat the change."


class ContentTooLarge(Problem):
    status = 413
    code = "content_too_large"
    detail = "The body is larger than {limit} bytes."

    limit: int


class UnsupportedMediaType(Problem):
    status = 415
    code = "unsupported_media_type"
    detail = "Send the body as {expected}."

    expected: str


class Unprocessable(Problem):
    """What was asked for can't be. `location` says where in the request that lies, as the member `errors` does.

    `("query", "cursor")`, `("body", "items")`; nowhere in particular if a subclass leaves it out.
    """

    status = 422
    code = "invalid_request"
    detail = "The request is well formed, but not valid."
    location: ClassVar[tuple[str, ...]] = ()


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class _Later(Problem):
    """An answer that says when to come again. `retry_after` is in seconds."""

    retry_after: float = 1.0

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": str(max(1, math.ceil(self.retry_after)))}


class TooManyRequests(_Later):
    status = 429
    code = "too_many_requests"
    detail = "Too many requests. Come again in {retry_after:.0f} s."


class BadGateway(Problem):
    status = 502
    code = "bad_gateway"
    detail = "The service behind gave no usable answer."


class Unavailable(_Later):
    status = 503
    code = "unavailable"
    detail = "This can't be answered right now. Come again in {retry_after:.0f} s."


class GatewayTimeout(Problem):
    status = 504
    code = "timeout"
    detail = "The answer took longer than allowed."
