"""Identity of a service for its own calls."""

import asyncio
import contextvars
from collections.abc import Callable
from time import monotonic as system_monotonic

from portico.kit.calls.channel import Channel
from portico.kit.calls.client import DEFAULT_LAYOUT, Calls, Layout, Options, Summary
from portico.kit.calls.encoding import decode, refused_error
from portico.kit.calls.errors import CallError
from portico.kit.foundation.probe_limiter import ProbeLimiter
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

_ISSUER = "identity"
_TIMEOUT = 5.0  # seconds of a token request
_OK = 200
_RENEW_AT = 0.8  # share of a token's lifetime
_MARGIN = 5.0  # seconds before its expiry at which a token is no longer used: clocks differ and calls take time
_AFTER_FAILURE = 1.0  # seconds before a failed renewal is retried


class ServiceIdentity:
    """A service's own short-lived token, from OAuth 2.0 client credentials (RFC 6749 section 4.4).

    `await identity()` returns the current token. It is renewed in the background near the end of its lifetime.
    Concurrent callers share one request.

    Args:
        channel: sends requests to the issuer.
        name: name of the service, its client_id.
        secret: its client_secret.
        layout: path prefix and service names of the system.
        monotonic: the clock, in seconds.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        name: str,
        secret: str,
        layout: Layout = DEFAULT_LAYOUT,
        monotonic: Callable[[], float] = system_monotonic,
    ) -> None:
        self._channel = channel
        self._form = {"grant_type": "client_credentials", "client_id": name, "client_secret": secret}
        self._layout = layout
        self._monotonic = monotonic
        self._token = ""
        self._renew_at = self._expires_at = float("-inf")
        self._probe_limiter = ProbeLimiter(monotonic)
        self._renewal: asyncio.Task[None] | None = None

    async def __call__(self) -> str:
        """Return the token.

        Raises:
            CallError: there is no valid token, and none could be obtained.
        """
        now = self._monotonic()
        if now >= self._expires_at:
            await asyncio.shield(self._start_renewal())  # a cancelled caller must not cancel it for others
        elif now >= self._renew_at:
            self._start_renewal()
        return self._token

    def forget(self, token: str) -> None:
        """Discard a token that was rejected, unless it has been replaced already."""
        if token == self._token:
            self._expires_at = float("-inf")

    async def aclose(self) -> None:
        """Cancel a token request in progress."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _start_renewal(self) -> "asyncio.Task[None]":
        if self._renewal is None:
            # The context is empty: the task serves other callers too, and must not see this caller's transaction or
            # trace.
            self._renewal = asyncio.create_task(self._renew(), context=contextvars.Context())
            self._renewal.add_done_callback(self._on_renewed)
        return self._renewal

    async def _renew(self) -> None:
        calls = Calls(self._channel, layout=self._layout, timeout=_TIMEOUT)
        options: Options = {"form": self._form, "only_reads": True, "probe": self._probe_limiter.may_probe()}
        answer = await calls.send(_ISSUER, "POST", "/oauth/token", options)
        if answer.status != _OK:
            raise refused_error(_ISSUER, answer)
        granted: _Grant = decode(_ISSUER, answer, _Grant)
        now = self._monotonic()
        self._token = granted.access_token
        self._renew_at = now + granted.expires_in * _RENEW_AT
        self._expires_at = now + max(granted.expires_in - _MARGIN, granted.expires_in * _RENEW_AT)

    def _on_renewed(self, task: "asyncio.Task[None]") -> None:
        self._renewal = None
        if not task.cancelled() and isinstance(error := task.exception(), CallError):
            logger.warning("service_token_not_renewed", error=str(error))
            self._renew_at = self._monotonic() + _AFTER_FAILURE


class _Grant(Summary):
    access_token: str
    expires_in: float
