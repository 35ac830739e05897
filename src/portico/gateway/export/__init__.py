"""Export of configuration: route tables for NGINX and Traefik, a system's monitoring, and an API client."""

from portico.gateway.export.grafana import grafana
from portico.gateway.export.nginx import nginx
from portico.gateway.export.nginx_direct import nginx_direct
from portico.gateway.export.options import ExportOptions, Tls
from portico.gateway.export.postman import postman
from portico.gateway.export.prometheus import prometheus, prometheus_rules, rules_file
from portico.gateway.export.public_routes import PublicRoutes
from portico.gateway.export.traefik import traefik

__all__ = [
    "ExportOptions",
    "PublicRoutes",
    "Tls",
    "grafana",
    "nginx",
    "nginx_direct",
    "postman",
    "prometheus",
    "prometheus_rules",
    "rules_file",
    "traefik",
]
