"""Test support for the authorization code flow: registered clients, and a browser that fills in the pages."""

import base64
import hashlib
import html
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.services.identity.accounts import PASSWORD, Identity

from portico.testing.running_service import Answer

CALLBACK = "https://app.example/callback"
SIGNED_OUT = "https://app.example/bye"
SCOPE = "openid profile email api products:write"
VERIFIER = secrets.token_urlsafe(48)


def challenge_of(verifier: str = VERIFIER) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def query_of(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


def claims_in(token: str) -> dict[str, Any]:
    """Return the claims of a JWT without verifying it."""
    import json

    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


@dataclass
class Client:
    """A registered client."""

    identity: Identity
    client_id: str
    secret: str | None
    redirect_uri: str = CALLBACK

    def request(self, **changes: str | None) -> str:
        """Return the address of an authorization request; None leaves a parameter out."""
        parameters = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": SCOPE,
            "state": "s-1",
            "nonce": "n-1",
            "code_challenge": challenge_of(),
            "code_challenge_method": "S256",
        }
        sent = {name: value for name, value in (parameters | changes).items() if value is not None}
        return f"/oauth/authorize?{urlencode(sent)}"

    async def token(self, headers: Mapping[str, str] | None = None, **fields: str) -> Answer:
        """Send a token request with the client's id, and its secret if it has one."""
        named = {"client_id": self.client_id} | ({"client_secret": self.secret} if self.secret else {})
        return await self.identity.form("/oauth/token", headers, **(named | fields))

    async def redeem(self, code: str, **changes: str) -> Answer:
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": VERIFIER,
        }
        return await self.token(**(fields | changes))


async def register(identity: Identity, **changes: Any) -> Client:
    """Register a client, as an administrator."""
    body = {
        "name": "The App",
        "redirect_uris": [CALLBACK],
        "post_logout_redirect_uris": [SIGNED_OUT],
        "scope": SCOPE.split(),
    } | changes
    answer = await (await identity.administrator()).post("/oauth/clients", json=body)
    assert answer.status_code == 201, answer.content
    known = answer.json()
    return Client(identity, known["client_id"], known["client_secret"], known["redirect_uris"][0])


@dataclass
class Browser:
    """A browser with its cookies. It follows no redirect by itself."""

    identity: Identity
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, address: str) -> Answer:
        return self._kept(await self.identity.anonymous.get(address, headers=self._headers()))

    async def submit(self, page: Answer, at: str, **entered: str) -> Answer:
        """Send the page's first form with what a person enters."""
        text = page.content.decode()
        action = html.unescape(re.search(r'<form method="post" action="([^"]*)"', text)[1])  # type: ignore[index]
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text))
        return await self.post(urlsplit(at).path + action, **(hidden | entered))

    async def post(self, address: str, **fields: str) -> Answer:
        return self._kept(await self.identity.form(address, self._headers(), **fields))

    async def sign_in(self, address: str, email: str = "ada@example.com", password: str = PASSWORD) -> Answer:
        """Sign in on the page at `address`; return the response to the form."""
        page = await self.get(address)
        return await self.submit(page, address, decision="sign_in", email=email, password=password)

    async def authorize(self, address: str, **who: str) -> Answer:
        """Do what the pages ask for, allowing everything; return the redirect to the client."""
        answer = await self.get(address)
        if b'name="password"' in answer.content:
            again = (await self.submit(answer, address, decision="sign_in", **(ADA | who))).headers["location"]
            answer = await self.get(again)
        if b'value="allow"' in answer.content:
            answer = await self.submit(answer, address, decision="allow")
        assert answer.status_code == 303, answer.content
        return answer

    def _headers(self) -> dict[str, str]:
        return {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}

    def _kept(self, answer: Answer) -> Answer:
        if (sent := answer.headers.get("set-cookie")) is not None:
            name, _, value = sent.partition(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
        return answer


ADA = {"email": "ada@example.com", "password": PASSWORD}


async def code_of(browser: Browser, client: Client, **changes: str | None) -> str:
    answer = await browser.authorize(client.request(**changes))
    return query_of(answer.headers["location"])["code"]


async def signed_in(client: Client, browser: Browser | None = None, **changes: str | None) -> dict[str, Any]:
    """Return the tokens that the client gets for Ada."""
    answer = await client.redeem(await code_of(browser or Browser(client.identity), client, **changes))
    assert answer.status_code == 200, answer.content
    tokens: dict[str, Any] = answer.json()
    return tokens
