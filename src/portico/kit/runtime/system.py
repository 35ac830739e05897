"""What a system declares: which services, where, behind which routes."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Self

from portico.kit.runtime.service import Service
from portico.kit.service_context import Case, SystemInfo

GATEWAY: Final = "gateway"
"""The name of the gateway among the parts of a system."""


class NoSuchService(LookupError):
    """A system was asked for a service that it does not have."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A service in a system: what it is called there, and its port."""

    service: Service
    name: str
    port: int


@dataclass(frozen=True, eq=False)
class System:
    """A selection of services: `System("library", summary=…, gateway=8000, services={identity: 8001, loans: 8002})`.

    Args:
        name: of the system, and the audience of its tokens.
        summary: one line.
        gateway: the gateway's port.
        services: each service with its port.
        case: how JSON is spelled at its face.
        prefix: of every resource's path ("/api").
        names: what it calls a service that has another name of its own.
        roles: named sets of permissions; "*" is every permission.
        default_role: what a new user is given.
        verification: how services verify tokens unless TOKEN_VERIFICATION says otherwise: by identity's public keys,
            or by asking identity.
    """

    name: str
    summary: str
    gateway: int
    services: Mapping[Service, int]
    case: Case = "snake"
    prefix: str = ""
    names: Mapping[Service, str] = field(default_factory=dict)
    roles: Mapping[str, Iterable[str]] = field(default_factory=dict)
    default_role: str | None = None
    verification: Literal["keys", "ask"] = "keys"

    @property
    def info(self) -> SystemInfo:
        """What the services of this system may know of it."""
        return SystemInfo(
            self.name,
            services=frozenset(each.name for each in self.placements),
            prefix=self.prefix,
            case=self.case,
            roles={role: frozenset(permissions) for role, permissions in self.roles.items()},
            default_role=self.default_role,
        )

    @property
    def placements(self) -> list[Placement]:
        return [Placement(service, self.name_of(service), port) for service, port in self.services.items()]

    def name_of(self, service: Service) -> str:
        """What this system calls `service`."""
        return self.names.get(service, service.name)

    @property
    def ports(self) -> dict[str, int]:
        """The port of each part, by name."""
        return {GATEWAY: self.gateway} | {each.name: each.port for each in self.placements}

    def moved(self, ports: Mapping[str, int]) -> Self:
        """The same system with other ports, by the names that it has for its services; the gateway's is `gateway`."""
        services = {each.service: ports.get(each.name, each.port) for each in self.placements}
        return replace(self, gateway=ports.get(GATEWAY, self.gateway), services=services)

    def placement(self, name: str) -> Placement:
        """The service called `name` here, or whose own name it is. Raises NoSuchService."""
        for placement in self.placements:
            if name in {placement.name, placement.service.name}:
                return placement
        names = [placement.name for placement in self.placements]
        close = difflib.get_close_matches(name, names, 1)
        meant = f" Did you mean {close[0]}?" if close else ""
        raise NoSuchService(f"The system {self.name} has no service {name!r}.{meant} It has {', '.join(names)}.")
