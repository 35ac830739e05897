from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.identity import SessionId
from portico.kit import Identifier, UserId, identifier, revision
from portico.kit.data import ExactText, LongText, Payload
from portico.services.identity.models import Table
from portico.services.identity.oauth.domain import CodeOffer, is_native, is_registered, matches_challenge


class ClientId(Identifier, prefix="client"):
    """Id of a registered OAuth client."""


class OAuthClient(Table):
    """An application that users sign in to. A confidential client has a secret; a public one cannot keep any.

    A deleted client keeps its row, because consents, codes and sessions refer to it.
    """

    __tablename__ = "oauth_clients"

    client_id: Mapped[ClientId] = identifier()
    name: Mapped[str] = mapped_column(String(80))
    secret_digest: Mapped[str | None] = mapped_column(ExactText(64))
    redirect_uris: Mapped[list[str]] = mapped_column(Payload)
    post_logout_redirect_uris: Mapped[list[str]] = mapped_column(Payload)
    scope: Mapped[list[str]] = mapped_column(Payload)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    revision: Mapped[int] = revision()

    @property
    def confidential(self) -> bool:
        return self.secret_digest is not None

    def may_redirect_to(self, address: str) -> bool:
        """Return whether the client registered this redirect address."""
        return is_registered(address, self.redirect_uris, any_loopback_port=not self.confidential)

    def can_be_imitated_at(self, address: str) -> bool:
        """Return whether another app could receive the answer at `address`, so that consent is never remembered.

        That is a public client on the user's own device (RFC 8252 section 8.6).
        """
        return not self.confidential and is_native(address)

    def may_redirect_after_sign_out_to(self, address: str) -> bool:
        """Return whether the client registered this address for the end of a session."""
        return is_registered(address, self.post_logout_redirect_uris, any_loopback_port=False)


class Consent(Table):
    """The scopes that a user has allowed a client to use."""

    __tablename__ = "oauth_consents"

    user_id: Mapped[UserId] = mapped_column(ForeignKey("users.user_id"), primary_key=True)
    client_id: Mapped[ClientId] = mapped_column(ForeignKey("oauth_clients.client_id"), primary_key=True)
    scope: Mapped[list[str]] = mapped_column(Payload)
    granted_at: Mapped[datetime]


class AuthorizationCode(Table):
    """A one-time code, stored by its digest and bound to the request that it answers.

    `session_id` is the session that the code opened. `browser_session_id` is the sign-in that it came from.
    """

    __tablename__ = "authorization_codes"

    digest: Mapped[str] = mapped_column(ExactText(64), primary_key=True)
    client_id: Mapped[ClientId] = mapped_column(ForeignKey("oauth_clients.client_id"))
    user_id: Mapped[UserId] = mapped_column(ForeignKey("users.user_id"))
    browser_session_id: Mapped[SessionId]
    redirect_uri: Mapped[str] = mapped_column(LongText)
    challenge: Mapped[str] = mapped_column(ExactText(43))
    nonce: Mapped[str | None] = mapped_column(LongText)
    scope: Mapped[list[str]] = mapped_column(Payload)
    authenticated_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    session_id: Mapped[SessionId | None]

    def accepts(self, offer: CodeOffer, now: datetime) -> bool:
        """Return whether the code is valid and `offer` continues the request that it answers."""
        is_same_request = self.redirect_uri == offer.redirect_uri and matches_challenge(offer.verifier, self.challenge)
        return self.expires_at > now and is_same_request


class BrowserSecret(Table):
    """The secret in a browser's cookie, stored by its digest, and the session that it belongs to."""

    __tablename__ = "browser_secrets"

    digest: Mapped[str] = mapped_column(ExactText(64), primary_key=True)
    session_id: Mapped[SessionId] = mapped_column(ForeignKey("sessions.session_id"), index=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
