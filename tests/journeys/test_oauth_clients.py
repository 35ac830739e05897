"""Standard OAuth and OpenID Connect clients, and a browser, against identity through the gateway."""

import asyncio
import base64
import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.discovery import OpenIDProviderMetadata
from requests_oauthlib import OAuth2Session
from tests.gateway.proxy.servers import bound, served
from tests.journeys.shop import ADMIN, SETTINGS, create_databases
from tests.support.chromium import chromium, needs_chromium

from portico.kit.settings import Environment
from portico.systems.catalog import catalog
from portico.systems.composition import Composition

T = TypeVar("T")

PASSWORD = ADMIN["password"]
CALLBACK = "https://app.example/callback"
SCOPE = "openid email api products:write"


@dataclass(frozen=True)
class Shop:
    """The catalog system behind its gateway."""

    url: str

    async def run(self, act: Callable[[], T]) -> T:
        """Run what blocks, as these clients do, beside the system's event loop."""
        return await asyncio.to_thread(act)

    def register_client(self, redirect_uri: str = CALLBACK, **values: Any) -> dict[str, Any]:
        token = requests.post(f"{self.url}/login", json=ADMIN, timeout=60).json()["access_token"]
        body = {"name": "The App", "redirect_uris": [redirect_uri], "scope": SCOPE.split(), **values}
        answer = requests.post(
            f"{self.url}/oauth/clients", json=body, headers={"authorization": f"Bearer {token}"}, timeout=60
        )
        assert answer.status_code == 201, answer.text
        client: dict[str, Any] = answer.json()
        return client

    def discover(self) -> dict[str, Any]:
        document: dict[str, Any] = requests.get(f"{self.url}/.well-known/openid-configuration", timeout=60).json()
        return document


def allow(address: str) -> str:
    """Sign in and allow what the pages at `address` ask for, as a person; return where the browser is sent."""
    browser = requests.Session()
    for _ in range(5):
        page = browser.get(address, allow_redirects=False, timeout=60)
        for decision in ("sign_in", "allow"):
            if f'value="{decision}"' in page.text:
                action = unescape(re.search(r'action="([^"]*)"', page.text)[1])  # type: ignore[index]
                fields = dict(re.findall(r'name="(csrf)" value="([^"]*)"', page.text))
                path = address.partition("?")[0]
                form = fields | ADMIN | {"decision": decision}
                page = browser.post(path + action, data=form, allow_redirects=False, timeout=60)
        if "location" in page.headers:
            if not page.headers["location"].startswith("/"):
                return page.headers["location"]
            address = "/".join(address.split("/")[:3]) + page.headers["location"]
    raise AssertionError(page.text)


@asynccontextmanager
async def run_catalog(folder: Path, **changed: str) -> AsyncIterator[Shop]:
    variables = {**SETTINGS, "DATA_DIR": str(folder), **changed}
    await create_databases(catalog, variables["DATA_DIR"])
    listener = bound()
    system = catalog.with_ports({"gateway": listener.getsockname()[1]})
    async with AsyncExitStack() as stack:
        whole = await stack.enter_async_context(Composition(system, Environment(variables)))
        await stack.enter_async_context(served(whole.apps["gateway"], listener))
        yield Shop(system.info.local_url)


@pytest.fixture(scope="module", params=["EdDSA", "RS256"])
async def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with run_catalog(tmp_path_factory.mktemp("shop"), JWT_ALGORITHM=request.param) as shop:
        yield shop


class TestStandardClients:
    async def test_authlib_and_pyjwt_sign_a_user_in(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")  # the test has no certificate

        def journey() -> None:
            document = shop.discover()
            AuthorizationServerMetadata(document).validate()
            if document["id_token_signing_alg_values_supported"] == ["RS256"]:
                OpenIDProviderMetadata(document).validate()
            assert document["issuer"] == shop.url
            registered = shop.register_client(confidential=True)
            client = AuthlibSession(
                registered["client_id"],
                registered["client_secret"],
                scope=SCOPE,
                redirect_uri=CALLBACK,
                code_challenge_method="S256",
                token_endpoint=document["token_endpoint"],
            )
            verifier, nonce = generate_token(48), generate_token()

            address, state = client.create_authorization_url(
                document["authorization_endpoint"], code_verifier=verifier, nonce=nonce
            )
            returned = allow(address)
            token = client.fetch_token(authorization_response=returned, state=state, code_verifier=verifier)
            key = jwt.PyJWKClient(document["jwks_uri"]).get_signing_key_from_jwt(token["id_token"])
            claims = jwt.decode(
                token["id_token"],
                key.key,
                algorithms=document["id_token_signing_alg_values_supported"],
                audience=registered["client_id"],
                issuer=document["issuer"],
                options={"require": ["exp", "iat", "sub", "auth_time", "at_hash"]},
            )
            info = client.get(document["userinfo_endpoint"], timeout=60).json()
            refreshed = client.refresh_token(document["token_endpoint"])
            me = client.get(f"{shop.url}/auth/me", timeout=60)
            revoked = client.revoke_token(document["revocation_endpoint"], refreshed["refresh_token"])

            assert parse_qs(urlsplit(returned).query)["iss"] == [shop.url]
            assert (claims["nonce"], claims["sub"], info["email"]) == (nonce, info["sub"], ADMIN["email"])
            assert me.json()["email"] == ADMIN["email"]
            assert revoked.status_code == 200
            with pytest.raises(OAuthError, match="invalid_grant"):
                client.refresh_token(document["token_endpoint"], refresh_token=refreshed["refresh_token"])

        await shop.run(journey)

    async def test_requests_oauthlib_signs_a_user_in_without_a_secret(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")  # the test has no certificate

        def journey() -> None:
            document, registered = shop.discover(), shop.register_client("http://127.0.0.1/callback")
            client = OAuth2Session(
                registered["client_id"],
                redirect_uri="http://127.0.0.1:51234/callback",
                scope=SCOPE.split(),
                pkce="S256",
                auto_refresh_url=document["token_endpoint"],
            )

            address, _ = client.authorization_url(document["authorization_endpoint"])
            returned = allow(address)
            token = client.fetch_token(
                document["token_endpoint"], authorization_response=returned, include_client_id=True
            )
            product = client.post(
                f"{shop.url}/products", json={"name": "Lamp", "price": 1, "category": "lamps", "sku": "L1"}, timeout=60
            )
            client.refresh_token(document["token_endpoint"], client_id=registered["client_id"])

            assert returned.startswith("http://127.0.0.1:51234/callback?code=")
            assert set(token["scope"]) == set(SCOPE.split())
            assert product.status_code == 201, product.text
            assert client.get(document["userinfo_endpoint"], timeout=60).json()["email"] == ADMIN["email"]

        await shop.run(journey)

    async def test_a_page_of_any_origin_may_fetch_tokens_and_claims(self, tmp_path: Path) -> None:
        def journey(shop: Shop) -> None:
            origin = {"origin": "https://app.example"}
            preflight = {
                **origin,
                "access-control-request-method": "GET",
                "access-control-request-headers": "authorization",
            }

            discovered = requests.get(f"{shop.url}/.well-known/openid-configuration", headers=origin, timeout=60)
            allowed = requests.options(f"{shop.url}/oauth/userinfo", headers=preflight, timeout=60)
            answers = [
                requests.post(f"{shop.url}/oauth/token", data={"grant_type": "x"}, headers=origin, timeout=60)
                for _ in range(21)
            ]
            pages = requests.get(f"{shop.url}/oauth/authorize", headers=origin, timeout=60)

            for answer in (discovered, allowed, answers[0], answers[-1]):
                assert answer.headers["access-control-allow-origin"] == "*"
            assert allowed.headers["access-control-allow-headers"] == "authorization"
            assert "access-control-allow-origin" not in pages.headers
            assert {answer.json()["error"] for answer in answers[:20]} == {"unsupported_grant_type"}
            assert (answers[-1].status_code, answers[-1].json()["error"]) == (429, "slow_down")

        async with run_catalog(tmp_path, RATE_LIMIT_TOKEN="20/minute") as shop:
            await shop.run(partial(journey, shop))


SPA = """<!doctype html><title>SPA</title><pre id="out"></pre><script>
const at = %(issuer)s, client = %(client)s, verifier = %(verifier)s;
const form = new URLSearchParams({grant_type: "authorization_code", client_id: client, code_verifier: verifier,
  redirect_uri: location.origin + location.pathname, code: new URLSearchParams(location.search).get("code")});
(async () => {
  const document_ = await (await fetch(at + "/.well-known/openid-configuration")).json();
  const tokens = await (await fetch(document_.token_endpoint, {method: "POST", body: form})).json();
  const headers = {authorization: "Bearer " + tokens.access_token};
  const info = await (await fetch(document_.userinfo_endpoint, {headers})).json();
  document.getElementById("out").textContent = info.email || JSON.stringify([tokens, info]);
})().catch(error => document.getElementById("out").textContent = String(error)).then(() => location.hash = "done");
</script>"""

_CLICK_AUTHORIZE = """[...document.querySelectorAll(".auth-container")]
    .find(each => each.querySelector("#oauth_username")).querySelector("button.authorize").click()"""


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("shop", ["EdDSA"], indirect=True)
class TestBrowser:
    async def test_a_person_signs_in_to_a_single_page_application(self, shop: Shop, tmp_path: Path) -> None:
        page: dict[str, bytes] = {}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            headers = [(b"content-type", b"text/html")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": page.get(scope["path"], b"")})

        async with served(app) as address, chromium(tmp_path / "profile") as tab:
            callback = f"http://{address}/callback"
            registered = await shop.run(lambda: shop.register_client(callback))
            verifier = secrets.token_urlsafe(48)
            values = {"issuer": shop.url, "client": registered["client_id"], "verifier": verifier}
            page["/callback"] = (SPA % {name: json.dumps(value) for name, value in values.items()}).encode()
            digest = hashlib.sha256(verifier.encode()).digest()
            request = requests.Request(
                "GET",
                f"{shop.url}/oauth/authorize",
                params={
                    "response_type": "code",
                    "client_id": registered["client_id"],
                    "redirect_uri": callback,
                    "scope": SCOPE,
                    "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
                    "code_challenge_method": "S256",
                },
            )

            await tab.resize(390, 700)
            await tab.open(request.prepare().url or "")
            await tab.evaluate("document.querySelector('#email').value = 'admin@example.com'")
            await tab.evaluate("document.querySelector('#password').value = 'wrong password'")
            await tab.evaluate("document.querySelector('button').click()")
            await tab.until("document.querySelector('.error') !== null")
            await tab.evaluate(f"document.querySelector('#password').value = {json.dumps(ADMIN['password'])}")
            await tab.evaluate("document.querySelector('button').click()")
            await tab.until("document.querySelector('button[value=allow]') !== null")
            fits = await tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
            await tab.evaluate("document.querySelector('button[value=allow]').click()")
            await tab.until("location.hash == '#done'")

            assert fits, "the page fits a phone"
            assert await tab.evaluate("document.querySelector('#out').textContent") == ADMIN["email"]
            assert [error for error in tab.errors if "Security Policy" in error] == []

    async def test_a_developer_signs_in_with_the_password_flow_of_swagger_ui(self, shop: Shop, tmp_path: Path) -> None:
        async with chromium(tmp_path / "profile") as tab:
            await tab.open(f"{shop.url}/docs")
            await tab.appears(".authorize")
            await tab.click(".authorize")
            await tab.appears("#oauth_username")
            for field, value in (("#oauth_username", ADMIN["email"]), ("#oauth_password", PASSWORD)):
                await tab.evaluate(f"document.querySelector('{field}').focus()")
                await tab.call("Input.insertText", text=value)
            await tab.evaluate(_CLICK_AUTHORIZE)
            await tab.appears(".modal-ux h6")  # "Authorized"

            assert [error for error in tab.errors if "Security Policy" in error] == []
