"""Declaration of a system: its services, their ports and the routes to them."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Self

from portico.kit.runtime.service import Service
from portico.kit.service_context import Case, Lists, SystemInfo
from portico.kit.settings import Settings, all_variables

GATEWAY: Final = "gateway"
"""Name of the gateway among the parts of a system."""


class NoSuchService(LookupError):
    """The system has no such service."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A service in a system, with its name and port there."""

    service: Service
    name: str
    port: int


@dataclass(frozen=True, eq=False)
class System:
    """A selection of services: `System("library", summary=…, gateway=8000, services={identity: 8001, loans: 8002})`.

    Args:
        name: name of the system, and the audience of its tokens.
        summary: one line.
        gateway: port of the gateway.
        services: the services with their ports.
        case: case of JSON field names.
        prefix: path prefix of resources ("/api").
        lists: whether lists are JSON arrays (`skip`, `limit`) or objects with numbered pages (`page`, `size`).
        names: names of services that have another name in this system.
        roles: named sets of permissions; "*" is every permission.
        default_role: role of a new user.
        verification: how services verify tokens unless TOKEN_VERIFICATION is set: with identity's public keys, or by
            introspection at identity.
    """

    name: str
    summary: str
    gateway: int
    services: Mapping[Service, int]
    case: Case = "snake"
    prefix: str = ""
    lists: Lists = "arrays"
    names: Mapping[Service, str] = field(default_factory=dict)
    roles: Mapping[str, Iterable[str]] = field(default_factory=dict)
    default_role: str | None = None
    verification: Literal["keys", "ask"] = "keys"

    @property
    def info(self) -> SystemInfo:
        """The part of the system that its services know."""
        return SystemInfo(
            self.name,
            services=frozenset(each.name for each in self.placements),
            prefix=self.prefix,
            case=self.case,
            lists=self.lists,
            roles={role: frozenset(permissions) for role, permissions in self.roles.items()},
            default_role=self.default_role,
            local_url=f"http://localhost:{self.gateway}",
        )

    @property
    def placements(self) -> list[Placement]:
        return [Placement(service, self.name_of(service), port) for service, port in self.services.items()]

    def name_of(self, service: Service) -> str:
        """Return the name of `service` in this system."""
        return self.names.get(service, service.name)

    @property
    def ports(self) -> dict[str, int]:
        """The port of each part, by name."""
        return {GATEWAY: self.gateway} | {each.name: each.port for each in self.placements}

    @property
    def variables(self) -> frozenset[str]:
        """The environment variables that are settings of its processes."""
        own = [each.settings for each in self.services if each.settings is not None]
        return all_variables([Settings, *own], [each.name for each in self.placements])

    def with_ports(self, ports: Mapping[str, int]) -> Self:
        """Return the same system with other ports, by name of the service; the gateway's name is `gateway`."""
        services = {each.service: ports.get(each.name, each.port) for each in self.placements}
        return replace(self, gateway=ports.get(GATEWAY, self.gateway), services=services)

    def placement(self, name: str) -> Placement:
        """Return the service with this name in the system or in its declaration. Raises NoSuchService."""
        for placement in self.placements:
            if name in {placement.name, placement.service.name}:
                return placement
        names = [placement.name for placement in self.placements]
        close = difflib.get_close_matches(name, names, 1)
        suggestion = f" Did you mean {close[0]}?" if close else ""
        raise NoSuchService(f"The system {self.name} has no service {name!r}.{suggestion} It has {', '.join(names)}.")
