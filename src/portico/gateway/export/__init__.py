"""Configuration of a proxy that stands in front of the gateway, compiled from what the gateway itself goes by."""

from portico.gateway.export.front import Front, Tls
from portico.gateway.export.nginx import nginx
from portico.gateway.export.surface import Surface
from portico.gateway.export.traefik import traefik

__all__ = ["Front", "Surface", "Tls", "nginx", "traefik"]
