import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from portico.kit import ClientInfo, ServiceContext
from portico.kit.http import InvalidClient
from portico.services.identity.repository import audit
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.domain import ClientCredentials, LoginKey
from portico.services.identity.tokens.sign_ins import count_failure, ensure_not_locked, prepare_counting

GATEWAY: Final = "gateway"


class OAuthClients:
    """Authenticate the services of the system and the gateway as OAuth clients."""

    def __init__(self, context: ServiceContext, service_secret: str) -> None:
        self._context = context
        self._secret = service_secret.encode()
        self._names = context.system.services | {GATEWAY}

    async def authenticate(self, credentials: ClientCredentials | None, client: ClientInfo) -> str:
        """Return the name of the service with these credentials. Counts a failure.

        Raises:
            InvalidClient: the credentials are wrong.
            SignInLocked: too many failures.
        """
        if credentials is None:
            raise InvalidClient(reason="send client credentials with HTTP Basic")
        # Counted by name and address together, so that failures from another address do not lock out the real service.
        account = f"client {credentials.client_id} at {client.rate_limit_key}"
        login_key = LoginKey(account, client.rate_limit_key)
        async with self._context.reader() as reader:
            await ensure_not_locked(reader, login_key)
        if self._is_known(credentials):
            return credentials.client_id
        await prepare_counting(self._context, login_key)
        async with self._context.transaction() as work:
            audit(work, "client.refused", client=client, client_id=credentials.client_id[:64])
            await count_failure(work, login_key, self._context.settings_of(IdentitySettings))
        raise InvalidClient(reason="the client or its secret is unknown")

    def _is_known(self, credentials: ClientCredentials) -> bool:
        return hmac.compare_digest(credentials.secret.encode(), self._secret) and credentials.client_id in self._names


@asynccontextmanager
async def open_oauth_clients(context: ServiceContext) -> AsyncIterator[OAuthClients]:
    """Provide the OAuth clients, which share the service secret."""
    yield OAuthClients(context, context.secrets.service_secret.get_secret_value())
