"""Interpreters of the exported files, which read them as the proxies do."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from portico.gateway.export import ExportOptions
from portico.gateway.routes import WEBSOCKET, Route, routes_of
from portico.kit.http.router import declared_routes
from portico.kit.runtime.shipped_systems import shipped_systems
from portico.kit.runtime.system import System
from portico.kit.runtime.system_loader import find_system
from portico.kit.settings import Settings, read_settings

SYSTEMS = [find_system(name) for name in shipped_systems()]
OPTIONS = ExportOptions(("10.0.0.5:8080", "10.0.0.6:8080"))


def settings(**variables: str) -> Settings:
    return read_settings(Settings, environ=variables).value


def every_route(system: System) -> list[Route]:
    """Return all declared routes, including those for services only."""
    return routes_of({each.name: declared_routes(each.service.routers, system.prefix) for each in system.placements})


def example(template: str) -> str:
    """Return a path that matches the template."""
    return re.sub(r"\{[^}]+\}", "x1", template)


def usual_path(system: System) -> str:
    """Return a path of identity, which is in every system, with the usual limits."""
    return f"{system.prefix}/users/x1"


def sent(method: str) -> str:
    """Return the HTTP method of a request to the route."""
    return "GET" if method == WEBSOCKET else method


@dataclass
class Nginx:
    """An NGINX file: its maps and locations."""

    text: str

    def passes(self, method: str, path: str) -> bool:
        return self._first_match("public", path) == "1" and self._first_match("blocked", f"{method} {path}") != "1"

    def settings_of(self, path: str) -> dict[str, str]:
        """Return the directives for `path`: the server's, overridden by its location's."""
        server = {"proxy_buffering": "on", **_directives(self.text, 4)}
        return {**server, **_directives(self._location(path), 8)}

    def _location(self, path: str) -> str:
        """Return the location of a path: exact ones first, then regular expressions in order."""
        found = re.findall(
            r"^    location (?:(=|~) )?\"?(\S+?)\"? \{\n(.*?)^    \}", self.text, re.MULTILINE | re.DOTALL
        )
        exact = [body for kind, where, body in found if kind == "=" and where == path]
        fitting = [body for kind, where, body in found if kind == "~" and re.search(where, path)]
        usual = [body for kind, where, body in found if not kind and where == "/"]
        return [*exact, *fitting, *usual][0]

    def _first_match(self, name: str, value: str) -> str:
        block = re.search(rf"^map .* \$portico_\w+_{name} \{{\n(.*?)^\}}", self.text, re.MULTILINE | re.DOTALL)
        assert block, name
        lines = re.findall(r'^    "~(.*)" (\d);$', block[1], re.MULTILINE)
        return next((said for pattern, said in lines if re.search(pattern, value)), "0")


def _directives(text: str, indent: int) -> dict[str, str]:
    return dict(re.findall(rf"^ {{{indent}}}(\w+) (.*);", text, re.MULTILINE))


class Reached(NamedTuple):
    """The limits that a Traefik router applies."""

    body_limit: int | None
    timeout: int
    flushes: bool


@dataclass
class Traefik:
    """A Traefik file: its routers, middlewares and services."""

    text: str

    @cached_property
    def http(self) -> dict[str, Any]:
        found: dict[str, Any] = YAML(typ="safe").load(self.text)["http"]
        return found

    def router(self, method: str, path: str, host: str = "shop.example") -> dict[str, Any] | None:
        """Return the matching router of the highest priority."""
        fitting = [router for router in self.http["routers"].values() if _fits(router["rule"], method, path, host)]
        return max(fitting, key=lambda router: router["priority"], default=None)

    def reached(self, method: str, path: str) -> Reached:
        router = self.router(method, path)
        assert router is not None
        middlewares = [self.http["middlewares"][name] for name in router["middlewares"]]
        limits = [each["buffering"]["maxRequestBodyBytes"] for each in middlewares if "buffering" in each]
        service = self.http["services"][router["service"]]["loadBalancer"]
        transport = self.http["serversTransports"][service["serversTransport"]]
        timeout = int(transport["forwardingTimeouts"]["responseHeaderTimeout"].rstrip("s"))
        return Reached(limits[0] if limits else None, timeout, "responseForwarding" in service)


def _fits(rule: str, method: str, path: str, host: str) -> bool:
    """Evaluate a rule. Its syntax is Go's, which differs from Python's in the operators."""
    python = re.sub(r"`([^`]*)`", lambda literal: repr(literal[1]), rule)
    python = python.replace("&&", " and ").replace("||", " or ").replace("!", " not ")
    matchers = {
        "Method": lambda wanted: method == wanted,
        "Path": lambda wanted: path == wanted,
        "PathRegexp": lambda pattern: re.search(pattern, path) is not None,
        "Host": lambda wanted: host == wanted,
    }
    return bool(eval(python, {"__builtins__": {}}, matchers))  # noqa: S307 the rule comes from this repository
