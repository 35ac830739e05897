import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from portico.kit import ClientInfo, ServiceContext
from portico.services.identity.audit.commands import record
from portico.services.identity.lockout.commands import LoginKey, count_failure, ensure_may_try, prepare_counting
from portico.services.identity.lockout.errors import SignInLocked
from portico.services.identity.oauth.domain import Client
from portico.services.identity.oauth.errors import OAuthRefusal
from portico.services.identity.settings import IdentitySettings

GATEWAY = "gateway"


class Clients:
    """Tells whether a client is the service that it says."""

    def __init__(self, context: ServiceContext, service_secret: str) -> None:
        self._context = context
        self._secret = service_secret.encode()
        self._names = context.system.services | {GATEWAY}

    async def ensure_service(self, client: Client | None, device: ClientInfo) -> str:
        """The name of the service that `client` proved to be. Raises OAuthRefusal, counting the failure."""
        if client is None:
            raise OAuthRefusal("invalid_client", "say who asks, with HTTP Basic")
        # Counted by name and address together: nobody may lock the true service out from elsewhere.
        login_key = LoginKey(f"client {client.client_id} at {device.rate_limit_key}", device.rate_limit_key)
        try:
            async with self._context.reader() as reader:
                await ensure_may_try(reader, login_key)
            if hmac.compare_digest(client.secret.encode(), self._secret) and client.client_id in self._names:
                return client.client_id
            await prepare_counting(self._context, login_key)
            async with self._context.transaction() as work:
                record(work, "client.refused", device=device, client_id=client.client_id[:64])
                await count_failure(work, login_key, self._context.settings_of(IdentitySettings))
        except SignInLocked as locked:
            raise OAuthRefusal("slow_down", locked.sentence(), retry_after=locked.retry_after) from locked
        raise OAuthRefusal("invalid_client", "the client or its secret is not known")


@asynccontextmanager
async def open_clients(context: ServiceContext) -> AsyncIterator[Clients]:
    """The service's clients, with the secret that they share."""
    yield Clients(context, context.secrets.service_secret.get_secret_value())
