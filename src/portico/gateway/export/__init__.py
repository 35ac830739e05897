"""Configuration of a proxy that stands in front of the gateway, compiled from what the gateway itself goes by."""

from portico.gateway.export.nginx import nginx
from portico.gateway.export.options import ExportOptions, Tls
from portico.gateway.export.public_routes import Surface
from portico.gateway.export.traefik import traefik

__all__ = ["ExportOptions", "Surface", "Tls", "nginx", "traefik"]
