"""Export of proxy configuration: compiles the gateway's route table for NGINX or Traefik in front of the gateway."""

from portico.gateway.export.nginx import nginx
from portico.gateway.export.options import ExportOptions, Tls
from portico.gateway.export.public_routes import PublicRoutes
from portico.gateway.export.traefik import traefik

__all__ = ["ExportOptions", "PublicRoutes", "Tls", "nginx", "traefik"]
