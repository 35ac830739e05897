import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from portico.kit import ClientInfo, ServiceContext
from portico.kit.http import InvalidClient
from portico.services.identity.oauth.form import OAuthForm
from portico.services.identity.oauth.models import ClientId, OAuthClient
from portico.services.identity.oauth.repository import Clients
from portico.services.identity.repository import audit
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.domain import ClientCredentials, LoginKey, digest_of
from portico.services.identity.tokens.sign_ins import count_failure, ensure_not_locked, prepare_counting

GATEWAY: Final = "gateway"
_UNKNOWN: Final = "the client or its secret is unknown"


class OAuthClients:
    """Authenticate OAuth clients: the services of the system and the gateway, and registered clients."""

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
        async with self._counting_failures(credentials.client_id, client):
            if self._is_service(credentials):
                return credentials.client_id
            raise InvalidClient(reason=_UNKNOWN)

    async def identify(self, form: OAuthForm, client: ClientInfo) -> OAuthClient | None:
        """Return the registered client that sent a form; None if the form names none, or a first-party client.

        A confidential client must authenticate itself. A public one only names itself. Counts a failure.

        Raises:
            InvalidClient: the credentials are wrong, or missing for a confidential client.
            SignInLocked: too many failures.
        """
        credentials = form.credentials
        name = form.fields.get("client_id", "") if credentials is None else credentials.client_id
        if ClientId.pattern.fullmatch(name) is None:
            return None
        async with self._counting_failures(name, client):
            async with self._context.reader() as reader:
                found = await Clients(reader).find_active(name)
            secret = "" if credentials is None else credentials.secret
            if found is None or not _matches(found, secret):
                raise InvalidClient(reason=_UNKNOWN)
            return found

    @asynccontextmanager
    async def _counting_failures(self, name: str, client: ClientInfo) -> AsyncIterator[None]:
        # Counted by name and address together, so that failures from another address do not lock out the real client.
        login_key = LoginKey(f"client {name} at {client.rate_limit_key}", client.rate_limit_key)
        async with self._context.reader() as reader:
            await ensure_not_locked(reader, login_key)
        try:
            yield
        except InvalidClient:
            await prepare_counting(self._context, login_key)
            async with self._context.transaction() as work:
                audit(work, "client.refused", client=client, client_id=name[:64])
                await count_failure(work, login_key, self._context.settings_of(IdentitySettings))
            raise

    def _is_service(self, credentials: ClientCredentials) -> bool:
        return hmac.compare_digest(credentials.secret.encode(), self._secret) and credentials.client_id in self._names


def _matches(client: OAuthClient, secret: str) -> bool:
    if client.secret_digest is None:
        return not secret
    return hmac.compare_digest(client.secret_digest, digest_of(secret))


@asynccontextmanager
async def open_oauth_clients(context: ServiceContext) -> AsyncIterator[OAuthClients]:
    """Provide the OAuth clients, which share the service secret."""
    yield OAuthClients(context, context.secrets.service_secret.get_secret_value())
