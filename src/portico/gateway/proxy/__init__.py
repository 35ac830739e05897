"""Data plane of the gateway: an ASGI application that forwards requests as the policy decides."""

from portico.gateway.proxy.app import ProxyApp
from portico.gateway.proxy.request import Capacity

__all__ = ["Capacity", "ProxyApp"]
