"""The ASGI plane: carries out what the policy decides."""

from portico.gateway.proxy.app import Capacity, ProxyApp

__all__ = ["Capacity", "ProxyApp"]
