"""Shared state of the fast plane, with which its connections decide about requests and forward them."""

import asyncio
import math
import random
from typing import Final

from portico.gateway.access_log import ResponseCounter
from portico.gateway.decisions import ANONYMOUS, Caller, Forward, MatchedRequest, PolicyInputs
from portico.gateway.fast.memo import (
    KnownFields,
    KnownPaths,
    KnownRequest,
    KnownRoute,
    SharedFields,
    encode_headers,
    is_plain,
)
from portico.gateway.fast.time_limits import TimeLimits
from portico.gateway.forwarding import passing_headers
from portico.gateway.proxy.app import ProxyApp
from portico.gateway.request_head import Header, RequestHead
from portico.gateway.routes import Route
from portico.gateway.upstreams import HttpUpstream, LocalUpstream
from portico.kit.auth.tokens import LEEWAY
from portico.kit.auth.verification import fingerprint
from portico.kit.foundation.ip_addresses import address_key

_VARY: Final = b"vary"


class FastPlane:
    """The fast plane of one gateway.

    Args:
        proxy: The ASGI plane. Both planes use the same policy, slots, budgets, services and observer.
    """

    def __init__(self, proxy: ProxyApp) -> None:
        self.proxy = proxy
        self.verifier = proxy.resolver.verifier
        self.tracing = proxy.tracing
        self.records_spans = proxy.tracing.is_recording
        self.slots = proxy.slots[False]
        self.clock = proxy.clock
        self.paths = KnownPaths()
        self._routes: dict[Route, KnownRoute] = {}
        self.time_limits = TimeLimits()
        self.loop = asyncio.get_running_loop()
        self._default_fields: list[Header] = []
        self._default_bytes = b""
        self.shared = SharedFields()
        # Identifiers must be distinct, not secret.
        self._id_prefix = b"%010x" % random.getrandbits(40)
        self._trace_prefix = b"00-%016x" % (random.getrandbits(64) | 1)
        self._span_prefix = b"%08x" % (random.getrandbits(32) | 1)
        self._number = self._traces = 0
        self.forwarded = 0  # requests that the fast plane completed alone

    def learn(self, fields: KnownFields, path: bytes, head: RequestHead) -> KnownRequest | None:
        """Let the policy decide about a request, and cache the decision.

        Returns:
            The cached decision; None if the ASGI plane must serve the request, because it is refused or not plain.
        """
        proxy = self.proxy
        matched = proxy.policy.match(head)
        if not isinstance(matched, MatchedRequest) or matched.page is not None or not is_plain(matched):
            return None
        route = matched.route
        upstream = proxy.upstreams.get(route.service)
        if route.streams or route.method != head.method or not isinstance(upstream, HttpUpstream | LocalUpstream):
            return None
        caller, mark, changes = ANONYMOUS, None, self.verifier.changes
        if matched.token is not None:
            mark = fingerprint(matched.token)
            principal = self.verifier.recall(mark, matched.token)
            if principal is None:
                return None
            caller = Caller("known", principal)
        decision = proxy.policy.settle(matched, PolicyInputs(caller), proxy.clock.now().timestamp())
        bucket = proxy.resolver.limiter.bucket(matched.rate, matched.rate_limit_key(caller))
        if type(decision) is not Forward or bucket is None:
            return None
        passing = passing_headers(head, decision, proxy.policy.proxies)
        cors = proxy.policy.cors.response_headers(head.headers, any_origin=route.any_origin)
        known = self._known_route(path, route, upstream)
        request = KnownRequest(
            route=known,
            decision=decision,
            fingerprint=mark,
            caller=caller,
            bucket=bucket,
            holder=address_key(matched.client),
            passing=passing,
            passing_bytes=encode_headers(passing) + b"\r\n",
            cors=cors,
            cors_bytes=encode_headers(cors),
            cors_bytes_varied=encode_headers(each for each in cors if each[0] != _VARY),
            expires_at=math.inf if caller.principal is None else caller.principal.expires_at.timestamp() + LEEWAY,
            changes=changes,
        )
        fields.add(request)
        return request

    def _known_route(self, path: bytes, route: Route, upstream: HttpUpstream | LocalUpstream) -> KnownRoute:
        known = self.paths.find(path)
        if known is None:
            known = self._routes.get(route) or KnownRoute(route, upstream, self.proxy.budgets[route.service])
            self._routes[route] = known
            self.paths.add(path, known)
        return known

    def encoded_once(self, fields: list[Header]) -> bytes:
        """Return the encoded fields of every response, such as Date. The server replaces the list to change it."""
        if fields is not self._default_fields:
            self._default_fields, self._default_bytes = fields, encode_headers(fields)
        return self._default_bytes

    def is_valid(self, known: KnownRequest) -> bool:
        """Return whether the caller's token is still valid: not expired, not revoked, and its key is not withdrawn."""
        if known.fingerprint is None:
            return True
        if known.expires_at <= self.clock.timestamp():
            return False
        changes = self.verifier.changes
        if known.changes != changes:
            if self.verifier.recall(known.fingerprint) is not known.caller.principal:
                return False
            known.changes = changes
        return True

    def counter(self, known: KnownRoute, status: int) -> ResponseCounter | None:
        """Return the counter of complete responses of this route; None if each needs its access record."""
        route = known.route
        found = known.counters[status] = self.proxy.observer.counter(route.method, route.path, route.service, status)
        return found

    def next_request_id(self) -> bytes:
        """Return a new request id."""
        self._number = number = self._number + 1
        return b"%b%06x" % (self._id_prefix, number)

    def next_trace(self) -> bytes:
        """Return the `traceparent` of a new, unrecorded trace."""
        self._traces = number = self._traces + 1
        return b"%b%016x-%b%08x-00" % (self._trace_prefix, number, self._span_prefix, number & 0xFFFFFFFF)
