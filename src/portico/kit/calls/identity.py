"""Who a service is when it calls for itself."""

import asyncio
import contextvars
import logging
from collections.abc import Callable
from time import monotonic as system_monotonic

from portico.kit.calls.channel import Channel
from portico.kit.calls.client import PLAIN, Calls, Layout, Options
from portico.kit.calls.encoding import decode, refusal
from portico.kit.calls.errors import CallError
from portico.kit.calls.summary import Summary
from portico.kit.foundation.probe_limiter import ProbeLimiter

log = logging.getLogger(__name__)

_OK = 200
_RENEWED_AT = 0.8  # of a token's life
_MARGIN = 5.0  # seconds before its end from which a token is no longer used: clocks differ, calls take time
_AFTER_FAILURE = 1.0  # seconds


class ServiceIdentity:
    """A service's own short-lived token, by OAuth 2.0 client credentials (RFC 6749 section 4.4).

    `await identity()` gives the token: the one it has, renewed in the background once most of its life is over; callers
    that need one at once share one request.

    Args:
        channel: The way to the issuer.
        name: The service's name, its client_id.
        secret: Its client_secret.
        issuer: The service that issues tokens.
        layout: The prefix and names of the system.
        timeout: Seconds for getting a token.
        monotonic: The clock, in seconds.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        name: str,
        secret: str,
        issuer: str = "identity",
        layout: Layout = PLAIN,
        timeout: float = 5.0,
        monotonic: Callable[[], float] = system_monotonic,
    ) -> None:
        self._channel = channel
        self._form = {"grant_type": "client_credentials", "client_id": name, "client_secret": secret}
        self._issuer = issuer
        self._layout = layout
        self._timeout = timeout
        self._monotonic = monotonic
        self._token = ""
        self._renew_at = self._ends_at = float("-inf")
        self._probe_limiter = ProbeLimiter(monotonic)
        self._renewal: asyncio.Task[None] | None = None

    async def __call__(self) -> str:
        """The token.

        Raises:
            CallError: There is none, and none could be had.
        """
        now = self._monotonic()
        if now >= self._ends_at:
            await asyncio.shield(self._renewing())  # a caller that gives up does not end it for the others
        elif now >= self._renew_at:
            self._renewing()
        return self._token

    def forget(self, token: str) -> None:
        """This token was refused: get another. One that was got meanwhile is kept."""
        if token == self._token:
            self._ends_at = float("-inf")

    async def aclose(self) -> None:
        """End a request for a token that is under way."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _renewing(self) -> "asyncio.Task[None]":
        if self._renewal is None:
            # A context of its own: it serves others too, and must not see the transaction or trace of who noticed.
            self._renewal = asyncio.create_task(self._renew(), context=contextvars.Context())
            self._renewal.add_done_callback(self._renewed)
        return self._renewal

    async def _renew(self) -> None:
        calls = Calls(self._channel, layout=self._layout, timeout=self._timeout)
        options: Options = {"form": self._form, "only_reads": True, "probe": self._probe_limiter.may_probe()}
        answer = await calls.send(self._issuer, "POST", "/oauth/token", options)
        if answer.status != _OK:
            raise refusal(self._issuer, answer)
        granted: _Grant = decode(self._issuer, answer, _Grant)
        now = self._monotonic()
        self._token = granted.access_token
        self._renew_at = now + granted.expires_in * _RENEWED_AT
        self._ends_at = now + max(granted.expires_in - _MARGIN, granted.expires_in * _RENEWED_AT)

    def _renewed(self, task: "asyncio.Task[None]") -> None:
        self._renewal = None
        if not task.cancelled() and isinstance(error := task.exception(), CallError):
            log.warning("no new service token: %s", error)
            self._renew_at = self._monotonic() + _AFTER_FAILURE


class _Grant(Summary):
    access_token: str
    expires_in: float
