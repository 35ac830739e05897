"""Data plane of the gateway: an ASGI application that forwards requests as the policy decides."""

from portico.gateway.proxy.app import Capacity, ProxyApp

__all__ = ["Capacity", "ProxyApp"]
