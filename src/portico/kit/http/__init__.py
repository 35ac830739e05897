"""The HTTP face: routes as data, schemas, the boundary that commits, problems, paging, conditions."""

from portico.kit.http.boundary import Reads, Work
from portico.kit.http.conditional import Conditions
from portico.kit.http.paging import Page
from portico.kit.http.router import Router
from portico.kit.http.schema import Moment, Schema, Text
from portico.kit.http.sockets import Socket

__all__ = ["Conditions", "Moment", "Page", "Reads", "Router", "Schema", "Socket", "Text", "Work"]
