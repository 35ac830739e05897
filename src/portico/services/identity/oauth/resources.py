import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from portico.kit.http.device import Device
from portico.kit.running import Running
from portico.services.identity.audit.commands import record
from portico.services.identity.lockout.commands import Guesser, count_failure, ensure_may_try, prepare_counting
from portico.services.identity.lockout.errors import SignInLocked
from portico.services.identity.oauth.domain import Client
from portico.services.identity.oauth.errors import OAuthRefusal
from portico.services.identity.settings import IdentitySettings

GATEWAY = "gateway"


class Clients:
    """Tells whether a client is the service that it says."""

    def __init__(self, running: Running, service_secret: str) -> None:
        self._running = running
        self._secret = service_secret.encode()
        self._names = {placement.name for placement in running.system.placements} | {GATEWAY}

    async def ensure_service(self, client: Client | None, device: Device) -> str:
        """The name of the service that `client` proved to be. Raises OAuthRefusal, counting the failure."""
        if client is None:
            raise OAuthRefusal("invalid_client", "say who asks, with HTTP Basic")
        # Counted by name and address together: nobody may lock the true service out from elsewhere.
        guesser = Guesser(f"client {client.client_id} at {device.counted}", device.counted)
        try:
            async with self._running.reader() as reader:
                await ensure_may_try(reader, guesser)
            if hmac.compare_digest(client.secret.encode(), self._secret) and client.client_id in self._names:
                return client.client_id
            await prepare_counting(self._running, guesser)
            async with self._running.transaction() as work:
                record(work, "client.refused", device=device, client_id=client.client_id[:64])
                await count_failure(work, guesser, self._running.settings_of(IdentitySettings))
        except SignInLocked as locked:
            raise OAuthRefusal("slow_down", locked.sentence(), retry_after=locked.retry_after) from locked
        raise OAuthRefusal("invalid_client", "the client or its secret is not known")


@asynccontextmanager
async def open_clients(running: Running) -> AsyncIterator[Clients]:
    """The service's clients, with the secret that they share."""
    yield Clients(running, running.secrets.service_secret.get_secret_value())
