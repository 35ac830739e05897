"""Pages of the authorization code flow that a person sees in a browser: sign-in, consent and sign-out."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlencode

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from portico.contracts.identity import SessionId, UserId
from portico.kit import (
    ClientInfo,
    Context,
    Reader,
    Reads,
    RequestClient,
    Router,
    ServiceContext,
    UnitOfWork,
    Work,
    inject,
)
from portico.kit.auth import ID_TOKEN, InvalidToken, UnverifiedToken
from portico.kit.http import OAuthError
from portico.services.identity.errors import HashingBusy, SignInLocked, SignInRefused
from portico.services.identity.oauth import service
from portico.services.identity.oauth.domain import with_query
from portico.services.identity.oauth.form import OAuthForm
from portico.services.identity.oauth.pages import PageForms, message_page
from portico.services.identity.oauth.repository import Clients, find_browser
from portico.services.identity.oauth.sign_on import sign_in_browser, sign_out_browser, sign_out_session
from portico.services.identity.settings import IdentitySettings
from portico.services.identity.tokens.device_tokens import DEVICE_COOKIE, set_device_cookie
from portico.services.identity.tokens.domain import new_secret
from portico.services.identity.tokens.key_ring import KeyRing
from portico.services.identity.tokens.sign_ins import SignInAttempt, SignIns

pages = Router(prefix="/oauth", tags=["oauth"])

SignInService = Annotated[SignIns, inject(SignIns)]

_PAGE: Final = {"include_in_schema": False}
_ENTERED: Final = frozenset({"csrf", "decision", "email", "password"})
_FORM_LIFETIME: Final = 3600  # seconds
_MAX_EMAIL: Final = 320
_MAX_PASSWORD: Final = 1024
_FORBIDDEN: Final = 403
_SEE_OTHER: Final = 303  # RFC 9700 section 4.12: never 307, which would repeat a form with the password


@pages.get("/authorize", any_query=True, framework=_PAGE)
async def authorize(request: Request, context: Context, work: Work, client: RequestClient) -> Response:
    """Return the user to the client with a code, after sign-in and consent (RFC 6749 section 4.1)."""
    return await _Visit(request, context, work, client).authorize()


@pages.post("/authorize", rate="sign_in", stores_response=False, any_query=True, framework=_PAGE)
async def submit_authorization_form(
    request: Request, context: Context, signing_in: SignInService, reads: Reads, work: Work, client: RequestClient
) -> Response:
    """Sign in, or allow or deny a client's request. Without the page's `csrf` it is a client's request by POST."""
    visit = _Visit(request, context, work, client)
    try:
        fields = (await OAuthForm.read(request)).fields
    except OAuthError as error:
        return message_page("This cannot be read", error.sentence(), status=400)
    csrf, decision = fields.get("csrf"), fields.get("decision")
    if csrf is None:
        return _see_with_query(request, fields)
    if decision == "sign_in":
        device = request.cookies.get(DEVICE_COOKIE)
        attempt = SignInAttempt(fields.get("email", ""), fields.get("password", ""), client, device)
        return await visit.sign_in(csrf, attempt, signing_in, reads)
    may_decide = decision in {"allow", "deny"} and visit.cookies.is_form_of_signed_in(csrf)
    return await visit.authorize(decision=decision if may_decide else None)


@pages.get("/logout", any_query=True, framework=_PAGE)
async def sign_out(request: Request, context: Context, work: Work, client: RequestClient) -> Response:
    """End the browser's session at a client's request (OpenID Connect RP-Initiated Logout 1.0)."""
    return await _Visit(request, context, work, client).sign_out()


@pages.post("/logout", stores_response=False, any_query=True, framework=_PAGE)
async def submit_sign_out_form(request: Request, context: Context, work: Work, client: RequestClient) -> Response:
    """End the browser's session at the user's request. Without the page's `csrf` it is a client's request by POST."""
    try:
        fields = (await OAuthForm.read(request)).fields
    except OAuthError as error:
        return message_page("This cannot be read", error.sentence(), status=400)
    csrf = fields.get("csrf")
    if csrf is None:
        return _see_with_query(request, fields)
    visit = _Visit(request, context, work, client)
    return await visit.sign_out(confirmed=visit.cookies.is_form_of_signed_in(csrf))


class _Cookies:
    """The cookies of the pages, and the values that prove that a form comes from them.

    Args:
        sent: the cookies of the request.
        secure: whether the issuer is an https address. The prefix `__Host-` then keeps other hosts from setting them.
    """

    def __init__(self, sent: Mapping[str, str], *, secure: bool) -> None:
        prefix = "__Host-" if secure else ""
        self._session_name, self._form_name = f"{prefix}portico_session", f"{prefix}portico_form"
        self._secure = secure
        self.session = sent.get(self._session_name)
        self.form = sent.get(self._form_name) or new_secret()

    @property
    def csrf(self) -> str:
        """The value for the sign-in form."""
        return _csrf_of(self.form)

    @property
    def csrf_of_signed_in(self) -> str:
        """The value for forms of a user who is signed in."""
        return _csrf_of(self.session or new_secret())

    def is_form_of(self, csrf: str) -> bool:
        return hmac.compare_digest(csrf.encode(), self.csrf.encode())

    def is_form_of_signed_in(self, csrf: str) -> bool:
        return hmac.compare_digest(csrf.encode(), self.csrf_of_signed_in.encode())

    def keep_form(self, answer: Response) -> None:
        self._set(answer, self._form_name, self.form, _FORM_LIFETIME)

    def keep_session(self, answer: Response, secret: str, seconds: int) -> None:
        self._set(answer, self._session_name, secret, seconds)

    def drop_session(self, answer: Response) -> None:
        self._set(answer, self._session_name, "", 0)

    def _set(self, answer: Response, name: str, value: str, seconds: int) -> None:
        answer.set_cookie(name, value, max_age=seconds, path="/", secure=self._secure, httponly=True, samesite="lax")


def _csrf_of(secret: str) -> str:
    return hashlib.sha256(f"csrf:{secret}".encode()).hexdigest()


class _Visit:
    """One request of a browser."""

    def __init__(self, request: Request, context: ServiceContext, work: UnitOfWork, client_info: ClientInfo) -> None:
        self._settings = context.settings_of(IdentitySettings)
        self._issuer = self._settings.issuer_of(context.system)
        self._path = request.url.path
        self._query = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        self._ring = context.resource(KeyRing)
        self._work = work
        self._client_info = client_info
        self.cookies = _Cookies(request.cookies, secure=self._issuer.startswith("https:"))

    async def authorize(
        self, *, decision: str | None = None, email: str = "", error: str = "", status: int = 200
    ) -> Response:
        """Return the answer to the authorization request in the query, or the page that it needs first.

        Args:
            decision: the user's answer on the consent page.
            email: what the user entered on the sign-in page.
            error: why the user is asked to sign in again.
            status: the status of that page.
        """
        hint = await self._read_hint(dict(self._query).get("id_token_hint", ""))
        authorization = service.Authorization(
            self._work,
            issuer=self._issuer,
            browser_secret=None if error else self.cookies.session,
            has_openid=self._settings.has_openid,
            expected_user=None if hint is None else str(hint["sub"]),
            client_info=self._client_info,
        )
        try:
            outcome = await authorization.proceed(self._query, decision=decision)
        except service.Unanswerable as unanswerable:
            return message_page("This request cannot be answered", str(unanswerable), status=400)
        if isinstance(outcome, service.Redirect):
            return _see(outcome.address)
        target = outcome.request.redirect_uri
        if isinstance(outcome, service.SignInNeeded):
            forms = PageForms(action=self._here(), csrf=self.cookies.csrf, target=target)
            page = forms.sign_in(outcome.client, email=email or outcome.request.login_hint, error=error, status=status)
            self.cookies.keep_form(page)
            return page
        other = self._here([*_without(self._query, "prompt"), ("prompt", "login")])
        user = outcome.user.email or outcome.user.display_name
        forms = PageForms(action=self._here(), csrf=self.cookies.csrf_of_signed_in, target=target)
        return forms.consent(outcome.client, user=user, scope=outcome.scope, other=other)

    async def sign_in(self, csrf: str, attempt: SignInAttempt, signing_in: SignIns, reads: Reader) -> Response:
        """Check the password of the sign-in form, remember the sign-in in the browser and continue with the request."""
        if not self.cookies.is_form_of(csrf):
            return await self.authorize(error="The page has expired. Try again.", status=_FORBIDDEN)
        if len(attempt.email) > _MAX_EMAIL or len(attempt.password) > _MAX_PASSWORD:
            return await self.authorize(error="The email address or the password is too long.", status=_FORBIDDEN)
        try:
            user = await signing_in.authenticate(reads, self._work, attempt)
        except SignInRefused as refused:
            return await self.authorize(email=attempt.email, error=refused.sentence(), status=_FORBIDDEN)
        except (SignInLocked, HashingBusy) as busy:
            answer = await self.authorize(email=attempt.email, error=busy.sentence(), status=busy.status)
            answer.headers.update(busy.headers)
            return answer
        secret = await sign_in_browser(
            self._work, user, self._settings, previous=self.cookies.session, client_info=self._client_info
        )
        answer = _see(self._path + self._here(_without_forced_sign_in(self._query)))
        set_device_cookie(answer, signing_in.issue_device_token(attempt), secure=self._issuer.startswith("https:"))
        self.cookies.keep_session(answer, secret, int(self._settings.browser_session_hours * 3600))
        return answer

    async def sign_out(self, *, confirmed: bool = False) -> Response:
        """End the session that the request names, or the browser's if the user has confirmed it."""
        values = dict(self._query)
        hint = await self._read_hint(values.get("id_token_hint", ""))
        try:
            target = await self._address_after_sign_out(values, hint)
        except service.Unanswerable as unanswerable:
            return message_page("This request cannot be answered", str(unanswerable), status=400)
        browser = await find_browser(self._work, self.cookies.session)
        is_named = hint is not None and (browser is None or browser.user.user_id == hint["sub"])
        if browser is not None and not is_named and not confirmed:
            forms = PageForms(action=self._here(), csrf=self.cookies.csrf_of_signed_in, target=target)
            return forms.sign_out(user=browser.user.email or browser.user.display_name)
        if hint is not None and is_named:
            session_id, user_id = SessionId(str(hint.get("sid"))), UserId(str(hint["sub"]))
            await sign_out_session(self._work, session_id, user_id, client_info=self._client_info)
        if browser is not None:
            await sign_out_browser(self._work, browser.session.session_id, client_info=self._client_info)
        answer = message_page("Signed out", "You are signed out in this browser.") if target is None else _see(target)
        self.cookies.drop_session(answer)
        return answer

    async def _address_after_sign_out(self, values: Mapping[str, str], hint: Mapping[str, object] | None) -> str | None:
        """Return the address that the client asks to return to. Raises Unanswerable unless the client registered it."""
        named = values.get("client_id") or str((hint or {}).get("aud", ""))
        if hint is not None and hint.get("aud") != named:
            raise service.Unanswerable("The ID token was issued to another application.")
        address = values.get("post_logout_redirect_uri")
        if not address:
            return None
        client = await Clients(self._work).find_active(named)
        if client is None or not client.may_redirect_after_sign_out_to(address):
            raise service.Unanswerable("The application did not register the address to return to.")
        return with_query(address, {"state": values.get("state")})

    async def _read_hint(self, token: str) -> Mapping[str, object] | None:
        """Return the claims of an ID token that identity issued, also of an expired one; None for any other text."""
        try:
            parts = UnverifiedToken.parse(token, kinds=ID_TOKEN)
            key = await self._ring.find_verifying_key(parts.kid)
            claims = None if key is None else parts.verify(key)
        except InvalidToken:
            return None
        return claims if claims is not None and claims.get("iss") == self._issuer else None

    def _here(self, query: Iterable[tuple[str, str]] | None = None) -> str:
        """Return the page's own address, relative to it, with its query or another one."""
        return f"?{urlencode(list(self._query if query is None else query))}"


def _without(query: Iterable[tuple[str, str]], *names: str) -> list[tuple[str, str]]:
    return [(name, value) for name, value in query if name not in names]


def _without_forced_sign_in(query: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the parameters without those that would ask a user who has just signed in to do so again."""
    prompt = [each for each in dict(query).get("prompt", "").split() if each not in {"login", "select_account"}]
    rest = _without(query, "prompt", "max_age", "id_token_hint")
    return [*rest, ("prompt", " ".join(prompt))] if prompt else rest


def _see_with_query(request: Request, fields: Mapping[str, str]) -> RedirectResponse:
    """Redirect to the page with the parameters of a client's form, but not with what a person enters."""
    return _see(f"{request.url.path}?{urlencode({name: fields[name] for name in fields.keys() - _ENTERED})}")


def _see(address: str) -> RedirectResponse:
    """Redirect with a GET. The address is sent as it is: the framework would quote a part of it."""
    answer = RedirectResponse("", _SEE_OTHER, {"cache-control": "no-store", "referrer-policy": "no-referrer"})
    answer.headers["location"] = address
    return answer
