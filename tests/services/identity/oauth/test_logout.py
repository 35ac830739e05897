"""Sign-out at a client's request (OpenID Connect RP-Initiated Logout 1.0)."""

from urllib.parse import urlencode

import pytest
from tests.services.identity.accounts import Identity
from tests.services.identity.oauth.flow import SIGNED_OUT, Browser, Client, register, signed_in


def address(**parameters: str) -> str:
    return f"/oauth/logout?{urlencode(parameters)}"


async def is_signed_in(browser: Browser, client: Client) -> bool:
    return (await browser.get(client.request())).status_code == 303


class TestLogout:
    async def test_with_an_id_token_ends_the_browsers_session_and_what_came_of_it(self, identity: Identity) -> None:
        await identity.register()
        app, other = await register(identity), await register(identity)
        offline = await register(identity, scope=["openid", "offline_access"])
        browser = Browser(identity)
        tokens, others = await signed_in(app, browser), await signed_in(other, browser)
        kept = await signed_in(offline, browser, scope="openid offline_access")
        assert await is_signed_in(browser, app)

        answer = await browser.get(
            address(id_token_hint=tokens["id_token"], post_logout_redirect_uri=SIGNED_OUT, state="bye")
        )

        assert (answer.status_code, answer.headers["location"]) == (303, f"{SIGNED_OUT}?state=bye")
        assert not await is_signed_in(browser, app)
        assert await identity.reason(tokens["access_token"]) == "revoked"
        assert await identity.reason(others["access_token"]) == "revoked"
        assert await identity.reason(kept["access_token"]) is None

    async def test_without_an_id_token_asks_first(self, embedded: Identity) -> None:
        await embedded.register()
        client, browser = await register(embedded), Browser(embedded)
        tokens = await signed_in(client, browser)

        page = await browser.get(address())
        forged = await browser.post(address(), csrf="guess", decision="sign_out")
        assert await is_signed_in(browser, client)
        answer = await browser.submit(page, address(), decision="sign_out")

        assert b"ada@example.com" in page.content
        assert (forged.status_code, answer.status_code) == (200, 200)
        assert b"signed out" in answer.content
        assert not await is_signed_in(browser, client)
        assert await embedded.reason(tokens["access_token"]) == "revoked"

    async def test_from_a_form_of_the_client_ends_the_session_that_the_id_token_names(self, embedded: Identity) -> None:
        await embedded.register()
        client, browser = await register(embedded), Browser(embedded)
        tokens = await signed_in(client, browser)
        embedded.advance(3600 * 2)  # the ID token has expired

        posted = await Browser(embedded).post("/oauth/logout", id_token_hint=tokens["id_token"])
        answer = await Browser(embedded).get(posted.headers["location"])

        assert (posted.status_code, answer.status_code) == (303, 200)
        assert not await is_signed_in(browser, client)

    @pytest.mark.parametrize("target", ["https://evil.example/", f"{SIGNED_OUT}/", "https://app.example/callback"])
    async def test_never_returns_to_an_address_that_is_not_registered(self, embedded: Identity, target: str) -> None:
        client = await register(embedded)

        answer = await Browser(embedded).get(address(client_id=client.client_id, post_logout_redirect_uri=target))

        assert (answer.status_code, "location" in answer.headers) == (400, False)

    async def test_with_a_forged_or_foreign_id_token_does_not_end_a_session(self, embedded: Identity) -> None:
        await embedded.register()
        client, other, browser = await register(embedded), await register(embedded), Browser(embedded)
        tokens = await signed_in(client, browser)

        forged = await browser.get(address(id_token_hint=tokens["id_token"][:-4] + "AAAA"))
        access = await browser.get(address(id_token_hint=tokens["access_token"]))
        mixed = await browser.get(address(id_token_hint=tokens["id_token"], client_id=other.client_id))

        assert (forged.status_code, access.status_code, mixed.status_code) == (200, 200, 400)
        assert await is_signed_in(browser, client)
