"""Identity: accounts, sessions, tokens and roles."""

from portico.contracts.identity import (
    EmailVerificationRequested,
    PasswordResetRequested,
    SessionRevoked,
    UserCreated,
    UserDeleted,
    UserUpdated,
)
from portico.kit import Service
from portico.services.identity import api, jobs
from portico.services.identity.models import Table
from portico.services.identity.oauth import api as oauth
from portico.services.identity.oauth import browser
from portico.services.identity.oauth.client_authentication import OAuthClients, open_oauth_clients
from portico.services.identity.oauth.grants import PasswordGrantRate, open_password_grant_rate
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens import api as tokens
from portico.services.identity.tokens.access_tokens import OwnVerifier, TokenIssuer, open_token_issuer, open_verifier
from portico.services.identity.tokens.key_ring import KeyRing, open_key_ring
from portico.services.identity.tokens.mailed_tokens import MailedTokens, open_mailed_tokens, run_mailed_tokens
from portico.services.identity.tokens.sign_ins import SignIns, open_sign_ins
from portico.services.identity.users import api as users
from portico.services.identity.users.first_administrator import FirstAdministrator, open_first_administrator
from portico.services.identity.users.passwords import PasswordHasher, open_password_hasher

service = Service(
    name="identity",
    summary="Accounts, sessions, tokens and roles",
    module=__name__,
    routers=[
        users.accounts,
        tokens.accounts,
        tokens.sign_ins,
        api.sessions,
        tokens.tokens,
        tokens.tickets,
        oauth.oauth,
        oauth.clients,
        browser.pages,
        users.users,
        users.roles,
        api.audit_log,
        api.revocations,
        api.discovery,
        oauth.discovery,
    ],
    jobs=[jobs.rotate_signing_keys, jobs.delete_expired_rows],
    tables=Table.metadata,
    publishes=[
        UserCreated,
        UserUpdated,
        UserDeleted,
        SessionRevoked,
        PasswordResetRequested,
        EmailVerificationRequested,
    ],
    background=[run_mailed_tokens],
    settings=IdentitySettings,
    resources={
        PasswordHasher: open_password_hasher,
        KeyRing: open_key_ring,
        TokenIssuer: open_token_issuer,
        OwnVerifier: open_verifier,
        SignIns: open_sign_ins,
        MailedTokens: open_mailed_tokens,
        OAuthClients: open_oauth_clients,
        PasswordGrantRate: open_password_grant_rate,
        FirstAdministrator: open_first_administrator,
    },
    verifier=OwnVerifier,
    secrets=["secret_key", "service_secret"],
)
