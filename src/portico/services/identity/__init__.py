"""Identity: accounts, sessions, tokens and roles."""

from portico.contracts.identity import SessionRevoked, UserCreated, UserDeleted, UserUpdated
from portico.kit import Service
from portico.services.identity import jobs
from portico.services.identity.accounts import endpoints as accounts
from portico.services.identity.audit import endpoints as audit
from portico.services.identity.keys import endpoints as keys
from portico.services.identity.keys import jobs as key_jobs
from portico.services.identity.keys.resources import KeyRing, open_ring
from portico.services.identity.models import Table
from portico.services.identity.oauth import endpoints as oauth
from portico.services.identity.oauth.resources import Clients, open_clients
from portico.services.identity.passwords.resources import PasswordHasher, open_hasher
from portico.services.identity.resources import FirstAdministrator, open_identity
from portico.services.identity.revocations import endpoints as revocations
from portico.services.identity.roles import endpoints as roles
from portico.services.identity.sessions import endpoints as sessions
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.sign_ins import endpoints as sign_ins
from portico.services.identity.sign_ins.commands import SignIns, open_sign_ins
from portico.services.identity.tickets import endpoints as tickets
from portico.services.identity.tokens import endpoints as tokens
from portico.services.identity.tokens.resources import OwnVerifier, TokenIssuer, open_issuer, open_verifier
from portico.services.identity.users import endpoints as users

service = Service(
    name="identity",
    summary="Accounts, sessions, tokens and roles",
    module=__name__,
    routers=[
        accounts.router,
        sign_ins.router,
        sessions.router,
        tokens.router,
        tickets.router,
        oauth.router,
        users.router,
        roles.router,
        audit.router,
        revocations.router,
        keys.router,
    ],
    jobs=[key_jobs.rotate_old_keys, jobs.forget_what_is_over],
    tables=Table.metadata,
    publishes=[UserCreated, UserUpdated, UserDeleted, SessionRevoked],
    settings=IdentitySettings,
    resources={
        PasswordHasher: open_hasher,
        KeyRing: open_ring,
        TokenIssuer: open_issuer,
        OwnVerifier: open_verifier,
        SignIns: open_sign_ins,
        Clients: open_clients,
        FirstAdministrator: open_identity,
    },
    verifier=OwnVerifier,
    secrets=["secret_key", "service_secret"],
)
