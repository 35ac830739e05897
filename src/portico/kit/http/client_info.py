"""Client address of a request, from the headers that trusted proxies set."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request

from portico.kit.foundation.ip_addresses import address_key, parse_address
from portico.kit.http.request import combined_field
from portico.kit.service_context import ServiceContext

MAX_HOPS: Final = 32
MAX_NAME_LENGTH: Final = 255
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Client of a request. `rate_limit_key` identifies it for failed sign-ins: its address, or its /64 in IPv6."""

    address: str
    name: str

    @property
    def rate_limit_key(self) -> str:
        return address_key(self.address)


def client_key(request: Request, context: ServiceContext) -> str:
    """Return the key that identifies the client of a request."""
    return address_key(client_address(request, context))


def client_address(request: Request, context: ServiceContext) -> str:
    """Return the nearest address that does not belong to a trusted proxy.

    TRUSTED_PROXIES and this machine are trusted, because a service behind its own gateway sees only the gateway.
    """
    address = request.client.host if request.client else UNKNOWN
    hops = (combined_field(request.headers, "x-forwarded-for") or "").split(",")[-MAX_HOPS:]
    for hop in reversed(hops):
        if not _is_trusted(address, context) or parse_address(hop.strip()) is None:
            break
        address = hop.strip()
    return address


def _is_trusted(address: str, context: ServiceContext) -> bool:
    found = parse_address(address)
    if found is None:
        return address == UNKNOWN
    return found.is_loopback or any(found in network for network in context.settings.trusted_proxies)


async def _client_info(request: Request) -> ClientInfo:
    context: ServiceContext = request.scope["portico.context"]
    name = "".join(letter for letter in request.headers.get("user-agent", "") if letter.isprintable())
    return ClientInfo(client_address(request, context), name[:MAX_NAME_LENGTH])


RequestClient = Annotated[ClientInfo, Depends(_client_info)]
"""Client of the request."""
