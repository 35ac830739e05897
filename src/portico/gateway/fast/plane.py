"""Shared state of the fast plane: what its connections use to decide about requests and to forward them."""

import asyncio
from typing import Final

from portico.gateway.decisions import ANONYMOUS, Caller, Forward, Matched, PolicyInputs
from portico.gateway.fast.memo import KnownFields, KnownPaths, KnownRequest, encoded, is_plain
from portico.gateway.fast.sweep import Sweep
from portico.gateway.forwarding import passing_headers
from portico.gateway.proxy.app import ProxyApp
from portico.gateway.request_head import Header, RequestHead
from portico.gateway.upstreams import HttpUpstream, LocalUpstream
from portico.kit.auth.verification import fingerprint
from portico.kit.foundation.ip_addresses import address_key

_VARY: Final = b"vary"


class FastPlane:
    """The fast plane of one gateway.

    Args:
        proxy: The ASGI plane. Both planes use the same policy, places, budgets, services and observer.
    """

    def __init__(self, proxy: ProxyApp) -> None:
        self.proxy = proxy
        self.verifier = proxy.resolver.verifier
        self.places = proxy.places[False]
        self.paths = KnownPaths()
        self.sweep = Sweep()
        self.loop = asyncio.get_running_loop()
        self._default_fields: list[Header] = []
        self._default_bytes = b""
        self.forwarded = 0  # requests whose response was complete, without the ASGI plane

    def learn(self, fields: KnownFields, path: bytes, head: RequestHead) -> KnownRequest | None:
        """Let the policy decide about a request, and remember what it finds.

        Returns:
            What is known now; None if the ASGI plane must serve the request, because it is refused or not plain.
        """
        proxy = self.proxy
        matched = proxy.policy.match(head)
        if not isinstance(matched, Matched) or matched.page is not None or not is_plain(matched):
            return None
        route = matched.route
        upstream = proxy.upstreams.get(route.service)
        if route.streams or route.method != head.method or not isinstance(upstream, HttpUpstream | LocalUpstream):
            return None
        caller, mark = ANONYMOUS, None
        if matched.token is not None:
            mark = fingerprint(matched.token)
            principal = self.verifier.recall(mark)
            if principal is None:
                return None
            caller = Caller("known", principal)
        decision = proxy.policy.settle(matched, PolicyInputs(caller), proxy.clock.now().timestamp())
        bucket = proxy.resolver.limiter.bucket(matched.rate, matched.rate_limit_key(caller))
        if type(decision) is not Forward or bucket is None:
            return None
        passing = passing_headers(head, decision, proxy.policy.proxies)
        cors = proxy.policy.cors.response_headers(head.headers, any_origin=route.any_origin)
        request = KnownRequest(
            decision=decision,
            fingerprint=mark,
            caller=caller,
            bucket=bucket,
            holder=address_key(matched.client),
            upstream=upstream,
            passing=passing,
            passing_bytes=encoded(passing),
            cors=cors,
            cors_bytes=encoded(cors),
            cors_bytes_varied=encoded(each for each in cors if each[0] != _VARY),
        )
        fields.add(self.paths.add(path, route), request)
        return request

    def encoded_once(self, fields: list[Header]) -> bytes:
        """Return the fields of every response, such as Date, as they are sent. The server replaces the list to change it."""
        if fields is not self._default_fields:
            self._default_fields, self._default_bytes = fields, encoded(fields)
        return self._default_bytes

    def is_valid(self, known: KnownRequest) -> bool:
        """Return whether the caller's token is still valid: not expired, not revoked, and its key not withdrawn."""
        return known.fingerprint is None or self.verifier.recall(known.fingerprint) is known.caller.principal
