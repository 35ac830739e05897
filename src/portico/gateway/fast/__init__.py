"""Fast plane of the gateway: forwards plain requests without ASGI. The ASGI plane (`gateway.proxy`) serves all others.

Both planes use the same policy, limits, breakers, metrics and access log. The fast plane forwards a request only if the
policy forwards it and nothing unusual happens. In every other case the ASGI plane takes over the request, before or
after it was sent to the service.
"""

from portico.gateway.fast.client import FastConnection
from portico.gateway.fast.plane import FastPlane

__all__ = ["FastConnection", "FastPlane"]
