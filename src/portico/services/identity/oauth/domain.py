"""Rules of the authorization code flow: redirect addresses, PKCE, scopes and authorization requests."""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from urllib.parse import urlencode, urlsplit

from portico.kit.auth import ACT_AS_USER

CODE_LIFETIME: Final = timedelta(seconds=60)
REPLAY_MEMORY: Final = timedelta(days=1)
"""How long a used code is remembered, so that its second use ends the session that it opened."""

MAX_ADDRESS_LENGTH: Final = 1000
MAX_ADDRESSES: Final = 20
OPENID: Final = "openid"
OFFLINE_ACCESS: Final = "offline_access"
OIDC_SCOPES: Final[Mapping[str, str]] = {
    OPENID: "Know who you are",
    "profile": "See your name",
    "email": "See your email address",
    OFFLINE_ACCESS: "Stay signed in after you sign out in this browser",
}
"""Scopes of OpenID Connect with what the consent page says about them."""

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_PRIVATE_SCHEME: Final = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")  # RFC 8252 section 7.1: a reversed domain name
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 section 4.1
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # SHA-256 in base64url
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
_PRINTABLE: Final = re.compile(r"[!-~]+")
_MAX_STATE: Final = 2048
_MAX_NONCE: Final = 512
_PROMPTS: Final = frozenset({"none", "login", "consent", "select_account"})

AuthorizationErrorCode = Literal[
    "invalid_request",
    "unauthorized_client",
    "access_denied",
    "unsupported_response_type",
    "invalid_scope",
    "temporarily_unavailable",
    "login_required",
    "consent_required",
    "request_not_supported",
    "request_uri_not_supported",
]


class RequestRejected(Exception):
    """The authorization request is answered with an error at the client's redirect address (RFC 6749 section 4.1.2.1)."""

    def __init__(self, code: AuthorizationErrorCode, description: str) -> None:
        super().__init__(description)
        self.code: AuthorizationErrorCode = code
        self.description = description


def check_redirect_address(text: str) -> str:
    """Return a redirect address that a client may register.

    Allowed are https addresses, http addresses of the user's own machine, and private-use schemes of native apps.

    Raises:
        ValueError: the address is not allowed.
    """
    parts = urlsplit(text)
    if not _PRINTABLE.fullmatch(text) or "#" in text or "\\" in text:
        raise ValueError("write an absolute address without a fragment")
    if parts.scheme in {"http", "https"}:
        if not parts.hostname or "@" in parts.netloc or "*" in parts.netloc:
            raise ValueError("write an address with a host, without user and wildcard")
        _ = parts.port  # raises ValueError
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("write https; http is for 127.0.0.1, [::1] and localhost only")
    elif _PRIVATE_SCHEME.fullmatch(parts.scheme) is None:
        raise ValueError("write https, or a private scheme with a dot, such as com.example.app:/callback")
    return text


def is_loopback(address: str) -> bool:
    """Return whether the address is one of the user's own machine, over http."""
    parts = urlsplit(address)
    return parts.scheme == "http" and parts.hostname in _LOOPBACK


def is_native(address: str) -> bool:
    """Return whether an app on the user's device receives the answer, so that any other app could claim the address."""
    return urlsplit(address).scheme != "https"


def is_registered(address: str, registered: Iterable[str], *, any_loopback_port: bool) -> bool:
    """Return whether `address` is one of the `registered` ones, compared as text (RFC 9700 section 2.1).

    Args:
        address: the redirect address of a request.
        registered: the addresses that the client registered.
        any_loopback_port: whether the port of a loopback address may differ, because a native app listens on a free
            one (RFC 8252 section 7.3).
    """
    for each in registered:
        if each == address:
            return True
        if any_loopback_port and is_loopback(each) and _without_port(address) == _without_port(each):
            return True
    return False


def _without_port(address: str) -> str | None:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    suffix = "" if port is None else f":{port}"
    if parts.scheme != "http" or not parts.netloc.endswith(suffix):
        return None
    return address.replace(parts.netloc, parts.netloc.removesuffix(suffix), 1)


def form_target(address: str) -> str:
    """Return the source of a redirect address in a content security policy.

    Browsers apply `form-action` also to the redirect that answers a form. A policy cannot name IPv6 addresses.
    """
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or ":" in (parts.hostname or ""):
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.netloc}"


def matches_challenge(verifier: str, challenge: str) -> bool:
    """Return whether `verifier` belongs to the S256 challenge (RFC 7636 section 4.6)."""
    if _VERIFIER.fullmatch(verifier) is None:
        return False
    digest = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    return hmac.compare_digest(digest, challenge.encode())


def with_query(address: str, parameters: Mapping[str, str | None]) -> str:
    """Return `address` with these parameters added to its query; None leaves a parameter out."""
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    if not query:
        return address
    return f"{address}{'&' if '?' in address else '?'}{query}"


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A valid authorization request of a client.

    Attributes:
        client_id: the client.
        redirect_uri: where the answer goes.
        scope: the requested scopes that the client may have, in order.
        challenge: the S256 code challenge.
        state: the client's own value, returned unchanged.
        nonce: binds the ID token to the client's session.
        prompt: what the user must be asked: none, login, consent or select_account.
        max_age: the sign-in must be at most this old (seconds).
        login_hint: the email address that the sign-in form suggests.
    """

    client_id: str
    redirect_uri: str
    scope: tuple[str, ...]
    challenge: str
    state: str | None
    nonce: str | None
    prompt: frozenset[str]
    max_age: int | None
    login_hint: str

    def needs_sign_in(self, authenticated_at: datetime, now: datetime) -> bool:
        """Return whether the user must sign in again, although signed in since `authenticated_at`."""
        if self.prompt & {"login", "select_account"}:
            return True
        return self.max_age is not None and now - authenticated_at > timedelta(seconds=self.max_age)

    def needs_consent(self, consented: Collection[str]) -> bool:
        """Return whether the user must be asked, although the scopes in `consented` were allowed earlier."""
        return "consent" in self.prompt or not set(self.scope) <= set(consented)


@dataclass(frozen=True, slots=True)
class CodeOffer:
    """An authorization code that a client wants to exchange, with what belongs to its request."""

    code: str
    redirect_uri: str
    verifier: str


def single_values(parameters: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters with a value. Raises RequestRejected for a repeated one (RFC 6749 section 3.1)."""
    names = [name for name, _ in parameters]
    if len(set(names)) != len(names):
        raise RequestRejected("invalid_request", "a parameter was sent twice")
    return {name: value for name, value in parameters if value}


def read_request(
    parameters: Mapping[str, str], *, allowed_scope: Sequence[str], has_openid: bool
) -> AuthorizationRequest:
    """Read an authorization request whose client and redirect address are known to be valid.

    Args:
        parameters: the request's parameters.
        allowed_scope: the scopes that the client may request.
        has_openid: whether ID tokens can be issued.

    Raises:
        RequestRejected: the request is not valid.
    """
    _check_response(parameters)
    challenge = _read_challenge(parameters)
    prompt = frozenset(parameters.get("prompt", "").split())
    if not prompt <= _PROMPTS or ("none" in prompt and len(prompt) > 1):
        raise RequestRejected("invalid_request", "prompt is not supported")
    max_age = parameters.get("max_age")
    if max_age is not None and _SECONDS.fullmatch(max_age) is None:
        raise RequestRejected("invalid_request", "max_age is not a number of seconds")
    requested = parameters.get("scope", "").split()
    scope = tuple(each for each in dict.fromkeys(requested) if each in allowed_scope and (has_openid or each != OPENID))
    if not scope:
        raise RequestRejected("invalid_scope", "the client may not request this scope")
    return AuthorizationRequest(
        client_id=parameters["client_id"],
        redirect_uri=parameters["redirect_uri"],
        scope=scope,
        challenge=challenge,
        state=read_state(parameters),
        nonce=_limited(parameters, "nonce", _MAX_NONCE),
        prompt=prompt,
        max_age=None if max_age is None else int(max_age),
        login_hint=parameters.get("login_hint", "")[:320],
    )


def read_state(parameters: Mapping[str, str]) -> str | None:
    """Return the request's state. Raises RequestRejected."""
    return _limited(parameters, "state", _MAX_STATE)


def _check_response(parameters: Mapping[str, str]) -> None:
    if "request" in parameters:
        raise RequestRejected("request_not_supported", "request objects are not supported")
    if "request_uri" in parameters:
        raise RequestRejected("request_uri_not_supported", "request objects are not supported")
    if "response_type" not in parameters:
        raise RequestRejected("invalid_request", "response_type is missing")
    if parameters["response_type"] != "code":
        raise RequestRejected("unsupported_response_type", "response_type must be code")
    if parameters.get("response_mode", "query") != "query":
        raise RequestRejected("invalid_request", "response_mode must be query")


def _read_challenge(parameters: Mapping[str, str]) -> str:
    if parameters.get("code_challenge_method") != "S256":
        raise RequestRejected("invalid_request", "PKCE is required: code_challenge_method must be S256")
    challenge = parameters.get("code_challenge", "")
    if _CHALLENGE.fullmatch(challenge) is None:
        raise RequestRejected("invalid_request", "code_challenge must be an S256 challenge")
    return challenge


def _limited(parameters: Mapping[str, str], name: str, limit: int) -> str | None:
    value = parameters.get(name)
    if value is not None and (len(value) > limit or not value.isprintable()):
        raise RequestRejected("invalid_request", f"{name} is too long or not printable")
    return value


def scope_description(scope: str) -> str:
    """Return what the consent page says about a scope."""
    if scope == ACT_AS_USER:
        return "Act for you where no special permission is needed: your account, your orders"
    return OIDC_SCOPES.get(scope) or f"Use your permission {scope}"
