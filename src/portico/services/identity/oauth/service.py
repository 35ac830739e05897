"""Use cases of the authorization code flow: from a client's request to its session."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from portico.contracts.identity import UserId
from portico.kit import ClientInfo, UnitOfWork
from portico.services.identity.models import Session
from portico.services.identity.oauth.domain import (
    CODE_LIFETIME,
    AuthorizationRequest,
    CodeOffer,
    RequestRejected,
    read_request,
    read_state,
    single_values,
    with_query,
)
from portico.services.identity.oauth.models import AuthorizationCode, Consent, OAuthClient
from portico.services.identity.oauth.repository import (
    Clients,
    SignedInBrowser,
    consented_scope,
    find_browser,
)
from portico.services.identity.repository import audit
from portico.services.identity.service import end_session
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.domain import delegated, digest_of, new_secret
from portico.services.identity.tokens.service import start_session
from portico.services.identity.users.models import User
from portico.services.identity.users.repository import Users


class Unanswerable(Exception):
    """The client or its redirect address is not known, so that the user sees a page instead of being redirected."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """The user returns to the client at this address."""

    address: str


@dataclass(frozen=True, slots=True)
class SignInNeeded:
    """The user must sign in."""

    client: OAuthClient
    request: AuthorizationRequest


@dataclass(frozen=True, slots=True)
class ConsentNeeded:
    """The user must consent to what the client requests."""

    client: OAuthClient
    request: AuthorizationRequest
    user: User
    scope: list[str]


Outcome = Redirect | SignInNeeded | ConsentNeeded


class Authorization:
    """One authorization request on its way from the client and back.

    Args:
        work: the transaction.
        issuer: the issuer of tokens, which every answer names (RFC 9207).
        browser_secret: the secret in the browser's cookie.
        has_openid: whether ID tokens can be issued.
        expected_user: the user that the client expects to be signed in; None for any.
        client_info: the browser.
    """

    def __init__(
        self,
        work: UnitOfWork,
        *,
        issuer: str,
        browser_secret: str | None,
        has_openid: bool,
        expected_user: str | None,
        client_info: ClientInfo,
    ) -> None:
        self._work = work
        self._issuer = issuer
        self._browser_secret = browser_secret
        self._has_openid = has_openid
        self._expected_user = expected_user
        self._client_info = client_info

    async def proceed(self, parameters: Sequence[tuple[str, str]], *, decision: str | None = None) -> Outcome:
        """Return the answer to the request, or what the user must do first.

        Args:
            parameters: the parameters of the request.
            decision: the user's answer on the consent page: allow or deny.

        Raises:
            Unanswerable: the client or its redirect address is not known.
        """
        client, address = await self._client(parameters)
        values = dict(parameters)
        try:
            values = single_values(parameters)
            request = read_request(values, allowed_scope=client.scope, has_openid=self._has_openid)
            return await self._decide(client, request, decision)
        except RequestRejected as error:
            return Redirect(self._error_address(address, values, error))

    async def _client(self, parameters: Sequence[tuple[str, str]]) -> tuple[OAuthClient, str]:
        named = [value for name, value in parameters if name == "client_id"]
        addresses = [value for name, value in parameters if name == "redirect_uri"]
        client = await Clients(self._work).find_active(named[0]) if len(named) == 1 else None
        if client is None:
            raise Unanswerable("The application that sent you here is not registered.")
        if len(addresses) != 1 or not client.may_redirect_to(addresses[0]):
            raise Unanswerable(f"{client.name} sent you here with an address that it did not register.")
        return client, addresses[0]

    async def _decide(self, client: OAuthClient, request: AuthorizationRequest, decision: str | None) -> Outcome:
        work = self._work
        browser = await find_browser(work, self._browser_secret)
        is_expected = browser is not None and self._expected_user in {None, browser.user.user_id}
        if browser is None or not is_expected or request.needs_sign_in(browser.session.proved_at, work.now):
            if "none" in request.prompt:
                raise RequestRejected("login_required", "the user is not signed in")
            return SignInNeeded(client, request)
        if decision == "deny":
            audit(
                work,
                "client.denied",
                user_id=browser.user.user_id,
                client=self._client_info,
                client_id=client.client_id,
            )
            raise RequestRejected("access_denied", "the user denied the request")
        if decision != "allow" and await self._needs_consent(client, request, browser):
            if "none" in request.prompt:
                raise RequestRejected("consent_required", "the user has not allowed this scope")
            user = await Users(work).get(browser.user.user_id)
            return ConsentNeeded(client, request, user, delegated(request.scope, user.permissions))
        return await self._answer(client, request, browser, is_asked=decision == "allow")

    async def _needs_consent(
        self, client: OAuthClient, request: AuthorizationRequest, browser: SignedInBrowser
    ) -> bool:
        known = await consented_scope(self._work, browser.user.user_id, client.client_id)
        return client.can_be_imitated_at(request.redirect_uri) or request.needs_consent(known)

    async def _answer(
        self, client: OAuthClient, request: AuthorizationRequest, browser: SignedInBrowser, *, is_asked: bool
    ) -> Redirect:
        work = self._work
        if is_asked:
            await _remember_consent(work, browser.user.user_id, client, request.scope, self._client_info)
        secret = new_secret()
        work.add(
            AuthorizationCode(
                digest=digest_of(secret),
                client_id=client.client_id,
                user_id=browser.user.user_id,
                browser_session_id=browser.session.session_id,
                redirect_uri=request.redirect_uri,
                challenge=request.challenge,
                nonce=request.nonce,
                scope=list(request.scope),
                authenticated_at=browser.session.proved_at,
                expires_at=work.now + CODE_LIFETIME,
            )
        )
        answer = {"code": secret, "state": request.state, "iss": self._issuer}
        return Redirect(with_query(request.redirect_uri, answer))

    def _error_address(self, address: str, values: Mapping[str, str], error: RequestRejected) -> str:
        try:
            state = read_state(values)
        except RequestRejected:
            state = None
        answer = {"error": error.code, "error_description": error.description, "state": state, "iss": self._issuer}
        return with_query(address, answer)


async def _remember_consent(
    work: UnitOfWork, user_id: UserId, client: OAuthClient, scope: Iterable[str], client_info: ClientInfo
) -> None:
    await Users(work).get(user_id, lock=True)  # two tabs may consent at the same time
    consent = await work.get(Consent, (user_id, client.client_id))
    if consent is None:
        consent = Consent(user_id=user_id, client_id=client.client_id, scope=[], granted_at=work.now)
        work.add(consent)
    if not set(scope) <= set(consent.scope):
        consent.scope = sorted({*consent.scope, *scope})
        consent.granted_at = work.now
        audit(
            work,
            "client.allowed",
            actor=user_id,
            user_id=user_id,
            client=client_info,
            client_id=client.client_id,
            scope=consent.scope,
        )


@dataclass(frozen=True, slots=True)
class RedeemedCode:
    """What an authorization code was exchanged for: an open session and its locked user."""

    session: Session
    user: User
    nonce: str | None


async def redeem_code(
    work: UnitOfWork, offer: CodeOffer, client: OAuthClient, *, settings: IdentitySettings, client_info: ClientInfo
) -> RedeemedCode | None:
    """Exchange an authorization code for a session, once. Return None if the code is not valid.

    A second use means that two parties hold the code: the session that it opened ends (RFC 6749 section 4.1.2). The
    caller must commit also when the result is None.
    """
    found = await work.get(AuthorizationCode, digest_of(offer.code))
    if found is None or found.client_id != client.client_id:
        return None
    # The user is locked before the session, as in every transaction that ends sessions.
    user = await Users(work).find(found.user_id, lock=True)
    code = await work.get(AuthorizationCode, found.digest, lock=True)
    if user is None or code is None:
        return None
    if code.session_id is not None:
        await _end_replayed_session(work, code, client_info)
        return None
    browser = await work.get(Session, code.browser_session_id)
    is_signed_in = user.may_sign_in and browser is not None and browser.is_open(work.now)
    if not is_signed_in or not code.accepts(offer, work.now):
        return None
    session = await start_session(work, user, settings, client=client_info)
    session.authorize_client(
        code.client_id,
        scope=code.scope,
        authenticated_at=code.authenticated_at,
        browser_session_id=code.browser_session_id,
    )
    code.session_id = session.session_id
    details = {"client_id": client.client_id, "session_id": session.session_id}
    audit(work, "client.signed_in", actor=user.user_id, user_id=user.user_id, client=client_info, **details)
    return RedeemedCode(session, user, code.nonce)


async def _end_replayed_session(work: UnitOfWork, code: AuthorizationCode, client_info: ClientInfo) -> None:
    session = await work.get(Session, code.session_id, lock=True)
    audit(work, "authorization_code.reused", user_id=code.user_id, client=client_info, session_id=code.session_id)
    if session is not None and session.is_open(work.now):
        end_session(work, session, actor=code.user_id, client=client_info, reason="authorization_code_reused")
