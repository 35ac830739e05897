"""How a request reaches a service: through its app in this process, or through a socket."""

from portico.gateway.upstreams.base import Answer, HandshakeRefused, Sending, Tunnel, Upstream
from portico.gateway.upstreams.local import LocalUpstream
from portico.gateway.upstreams.socket import SocketUpstream

__all__ = ["Answer", "HandshakeRefused", "LocalUpstream", "Sending", "SocketUpstream", "Tunnel", "Upstream"]
