"""The ASGI plane: carries out what the policy decides."""

from portico.gateway.plane.app import Capacity, Plane

__all__ = ["Capacity", "Plane"]
