"""Upstreams: how the gateway reaches a service, by a direct call in this process or over HTTP."""

from portico.gateway.upstreams.base import (
    HandshakeRefused,
    Upstream,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamWebSocket,
)
from portico.gateway.upstreams.http import HttpUpstream
from portico.gateway.upstreams.local import LocalUpstream

__all__ = [
    "HandshakeRefused",
    "HttpUpstream",
    "LocalUpstream",
    "Upstream",
    "UpstreamRequest",
    "UpstreamResponse",
    "UpstreamWebSocket",
]
