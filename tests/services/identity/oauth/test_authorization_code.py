"""The authorization code flow with PKCE (RFC 6749, RFC 7636, RFC 9700, OpenID Connect Core 1.0)."""

import re

import pytest
from tests.services.identity.accounts import PASSWORD, SYSTEM, VARIABLES, Identity
from tests.services.identity.oauth.flow import (
    CALLBACK,
    Browser,
    claims_in,
    code_of,
    query_of,
    register,
    signed_in,
)

from portico.services.identity import service
from portico.testing.databases import Databases
from portico.testing.running_service import run_service

ISSUER = "http://localhost:1"


class TestSignIn:
    async def test_a_user_signs_in_to_a_single_page_application(self, identity: Identity) -> None:
        user_id = await identity.register(name="Ada Lovelace")
        client, browser = await register(identity), Browser(identity)
        at = client.request()

        page = await browser.get(at)
        entered = await browser.submit(page, at, decision="sign_in", email="ada@example.com", password=PASSWORD)
        consent = await browser.get(entered.headers["location"])
        answer = await browser.submit(consent, at, decision="allow")
        returned = query_of(answer.headers["location"])
        tokens = (await client.redeem(returned["code"])).json()

        assert (page.status_code, entered.status_code, consent.status_code, answer.status_code) == (200, 303, 200, 303)
        assert b"The App" in consent.content
        assert b"ada@example.com" in consent.content
        assert answer.headers["location"].startswith(f"{CALLBACK}?")
        assert (returned["state"], returned["iss"]) == ("s-1", ISSUER)
        assert (tokens["scope"], tokens["token_type"]) == ("openid profile email api products:write", "Bearer")
        id_token = claims_in(tokens["id_token"])
        assert (id_token["iss"], id_token["aud"], id_token["sub"]) == (ISSUER, client.client_id, user_id)
        assert (id_token["nonce"], id_token["auth_time"]) == ("n-1", int(identity.run.clock.now().timestamp()))
        access = claims_in(tokens["access_token"])
        assert (access["client_id"], access["aud"], access["roles"]) == (client.client_id, "catalog", [])
        app = identity.run.bearing(tokens["access_token"])
        assert (await app.get("/oauth/userinfo")).json() == {
            "sub": user_id,
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "email_verified": False,
        }
        assert (await app.get("/auth/me")).json()["user_id"] == user_id

        listed = (await app.get("/auth/sessions")).json()
        assert [each["client_id"] for each in listed] == [client.client_id, None], "the client's and the browser's"

        again = await browser.get(at)
        assert (again.status_code, "code" in query_of(again.headers["location"])) == (303, True), (
            "consent is remembered"
        )

        refreshed = await client.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        renewed = claims_in(refreshed.json()["id_token"])
        assert (renewed["auth_time"], "nonce" in renewed) == (id_token["auth_time"], False)
        identity.advance(11)
        reused = await client.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        assert (reused.status_code, await identity.reason(refreshed.json()["access_token"])) == (400, "revoked")

    async def test_second_use_of_a_code_ends_the_session_that_it_opened(self, identity: Identity) -> None:
        await identity.register()
        client = await register(identity)
        code = await code_of(Browser(identity), client)
        tokens = (await client.redeem(code)).json()

        again = await client.redeem(code)

        assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
        assert await identity.reason(tokens["access_token"]) == "revoked"
        refresh = await client.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        assert refresh.json()["error"] == "invalid_grant"
        assert await identity.audited("authorization_code.reused")

    async def test_an_application_on_a_server_proves_who_it_is(self, embedded: Identity) -> None:
        await embedded.register()
        client = await register(embedded, confidential=True)
        code = await code_of(Browser(embedded), client)

        without = await embedded.form(
            "/oauth/token", grant_type="authorization_code", code=code, client_id=client.client_id
        )
        wrong = await client.redeem(code, client_secret="guess")
        right = await client.redeem(code)
        refresh = {"grant_type": "refresh_token", "refresh_token": right.json()["refresh_token"]}
        unnamed = await embedded.form("/oauth/token", **refresh)
        elsewhere = await embedded.anonymous.post("/auth/refresh", json={"refresh_token": refresh["refresh_token"]})

        assert [answer.status_code for answer in (without, wrong, right)] == [401, 401, 200]
        assert wrong.headers["www-authenticate"].startswith("Basic")
        assert (unnamed.json()["error"], elsewhere.status_code) == ("invalid_grant", 401)
        assert (await client.token(**refresh)).status_code == 200

    async def test_a_registered_client_never_handles_passwords(self, embedded: Identity) -> None:
        await embedded.register()
        client = await register(embedded)

        answer = await client.token(grant_type="password", username="ada@example.com", password=PASSWORD)

        assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


class TestCode:
    @pytest.mark.parametrize(
        "change",
        [{"redirect_uri": "https://app.example/other"}, {"code_verifier": "x" * 43}, {"code_verifier": "short"}],
    )
    async def test_is_bound_to_its_request(self, embedded: Identity, change: dict[str, str]) -> None:
        await embedded.register()
        client = await register(embedded)
        code = await code_of(Browser(embedded), client)

        answer = await client.redeem(code, **change)

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert (await client.redeem(code)).status_code == 200, "a failed attempt does not use it up"

    async def test_is_bound_to_its_client_and_sign_in_and_lasts_a_minute(self, embedded: Identity) -> None:
        await embedded.register()
        client, other, browser = await register(embedded), await register(embedded), Browser(embedded)
        codes = [await code_of(browser, client) for _ in range(3)]

        stolen = await other.redeem(codes[0])
        embedded.advance(61)
        late = await client.redeem(codes[1])
        fresh = await code_of(browser, client)
        ada = await embedded.sign_in()
        await ada.post("/auth/me/password", json={"current_password": PASSWORD, "new_password": "another long one"})
        signed_out = await client.redeem(fresh)

        assert {answer.json()["error"] for answer in (stolen, late, signed_out)} == {"invalid_grant"}


class TestInvalidRequest:
    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"code_challenge": None}, "invalid_request"),
            ({"code_challenge_method": "plain"}, "invalid_request"),
            ({"code_challenge_method": None}, "invalid_request"),
            ({"code_challenge": "short"}, "invalid_request"),
            ({"response_type": "token"}, "unsupported_response_type"),
            ({"response_type": None}, "invalid_request"),
            ({"response_mode": "fragment"}, "invalid_request"),
            ({"scope": "unknown *"}, "invalid_scope"),
            ({"scope": None}, "invalid_scope"),
            ({"prompt": "none login"}, "invalid_request"),
            ({"prompt": "none"}, "login_required"),
            ({"max_age": "soon"}, "invalid_request"),
            ({"request": "x"}, "request_not_supported"),
            ({"request_uri": "https://app.example/r"}, "request_uri_not_supported"),
        ],
    )
    async def test_returns_to_the_client_with_an_error(
        self, embedded: Identity, change: dict[str, str | None], error: str
    ) -> None:
        client = await register(embedded)

        answer = await Browser(embedded).get(client.request(**change))

        returned = query_of(answer.headers["location"])
        assert answer.headers["location"].startswith(f"{CALLBACK}?")
        assert (answer.status_code, returned["error"], returned["state"], returned["iss"]) == (
            303,
            error,
            "s-1",
            ISSUER,
        )

    @pytest.mark.parametrize(
        "change",
        [
            {"client_id": "client_00000000000000000000000000"},
            {"client_id": "%00"},
            {"client_id": None},
            {"redirect_uri": f"{CALLBACK}/"},
            {"redirect_uri": "https://app.example.evil.example/callback"},
            {"redirect_uri": "https://app.example:8443/callback"},
            {"redirect_uri": f"{CALLBACK}?x=1"},
            {"redirect_uri": None},
        ],
    )
    async def test_with_an_unknown_client_or_address_shows_a_page(
        self, embedded: Identity, change: dict[str, str | None]
    ) -> None:
        client = await register(embedded)

        answer = await Browser(embedded).get(client.request(**change))

        assert (answer.status_code, "location" in answer.headers) == (400, False)
        assert answer.headers["content-type"].startswith("text/html")

    async def test_with_a_repeated_parameter_returns_an_error(self, embedded: Identity) -> None:
        client = await register(embedded)

        answer = await Browser(embedded).get(f"{client.request()}&scope=openid")

        assert query_of(answer.headers["location"])["error"] == "invalid_request"

    async def test_of_a_form_continues_as_a_get_without_the_password(self, embedded: Identity) -> None:
        client = await register(embedded)
        sent = query_of(client.request(unknown="x")) | {"password": "secret"}

        answer = await Browser(embedded).post("/oauth/authorize", **sent)

        assert answer.status_code == 303
        assert query_of(answer.headers["location"]) == query_of(client.request(unknown="x"))


class TestConsent:
    async def test_denied_returns_to_the_client(self, embedded: Identity) -> None:
        await embedded.register()
        client, browser = await register(embedded), Browser(embedded)
        consent = await browser.get((await browser.sign_in(client.request())).headers["location"])

        answer = await browser.submit(consent, client.request(), decision="deny")

        assert query_of(answer.headers["location"])["error"] == "access_denied"

    async def test_is_asked_again_for_more_and_never_remembered_for_native_apps(self, embedded: Identity) -> None:
        await embedded.register()
        web = await register(embedded)
        native = await register(embedded, redirect_uris=["http://127.0.0.1/callback"])
        native.redirect_uri = "http://127.0.0.1:51234/callback"
        browser = Browser(embedded)
        await signed_in(web, browser, scope="openid")
        tokens = await signed_in(native, browser)

        assert "id_token" in tokens
        assert (await browser.get(web.request(scope="openid"))).status_code == 303
        assert (await browser.get(web.request(scope="openid email"))).status_code == 200
        assert (await browser.get(web.request(scope="openid", prompt="consent"))).status_code == 200
        assert (await browser.get(native.request())).status_code == 200
        silent = await browser.get(web.request(scope="openid email", prompt="none"))
        assert query_of(silent.headers["location"])["error"] == "consent_required"


class TestSignOn:
    @pytest.mark.parametrize("change", [{"prompt": "login"}, {"prompt": "select_account"}, {"max_age": "9"}])
    async def test_the_client_may_ask_for_a_new_sign_in(self, embedded: Identity, change: dict[str, str]) -> None:
        await embedded.register()
        client, browser = await register(embedded), Browser(embedded)
        first = claims_in((await signed_in(client, browser))["id_token"])
        embedded.advance(10)

        page = await browser.get(client.request(**change))
        second = claims_in((await signed_in(client, browser, **change))["id_token"])
        third = claims_in((await signed_in(client, browser))["id_token"])

        assert b'name="password"' in page.content
        assert second["auth_time"] == third["auth_time"] == first["auth_time"] + 10

    async def test_ends_with_the_password_and_with_time(self, embedded: Identity) -> None:
        await embedded.register()
        client, browser = await register(embedded), Browser(embedded)
        await signed_in(client, browser)
        assert (await browser.get(client.request())).status_code == 303

        embedded.advance(12 * 3600)

        assert b'name="password"' in (await browser.get(client.request())).content

    async def test_the_client_may_name_the_expected_user(self, embedded: Identity) -> None:
        await embedded.register()
        await embedded.register("bob@example.com")
        client, browser = await register(embedded), Browser(embedded)
        ada, bobs = await signed_in(client, browser), Browser(embedded)
        answer = await bobs.authorize(client.request(), email="bob@example.com")
        bob = (await client.redeem(query_of(answer.headers["location"])["code"])).json()

        same = await browser.get(client.request(prompt="none", id_token_hint=ada["id_token"]))
        other = await browser.get(client.request(prompt="none", id_token_hint=bob["id_token"]))

        assert "code" in query_of(same.headers["location"])
        assert query_of(other.headers["location"])["error"] == "login_required"


class TestScope:
    async def test_limits_what_the_client_may_do(self, embedded: Identity) -> None:
        await embedded.register()
        client = await register(embedded, scope=["openid", "api", "users:read"])
        narrow = embedded.run.bearing((await signed_in(client, scope="openid users:read"))["access_token"])
        wide = embedded.run.bearing((await signed_in(client, scope="api users:read"))["access_token"])

        me, own, users = await narrow.get("/auth/me"), await wide.get("/auth/me"), await wide.get("/users")
        info = await wide.get("/oauth/userinfo")

        assert (me.status_code, me.json()["permission"], own.status_code) == (403, "api", 200)
        assert users.status_code == 403, "the user does not have the permission"
        assert (info.status_code, (await narrow.get("/oauth/userinfo")).status_code) == (403, 200)
        assert 'scope="openid"' in info.headers["www-authenticate"]

    async def test_a_token_of_the_system_itself_is_not_limited(self, embedded: Identity) -> None:
        ada = await embedded.new_person()

        assert (await ada.get("/auth/me")).status_code == 200
        assert (await ada.get("/oauth/userinfo")).status_code == 403


class TestPage:
    async def test_is_safe_to_show(self, embedded: Identity) -> None:
        client = await register(embedded, name="<script>alert(1)</script>")

        page = await Browser(embedded).get(client.request(login_hint='"><b>x', state="<i>"))

        text, policy = page.content.decode(), page.headers["content-security-policy"]
        assert "<script" not in text
        assert "<b>" not in text
        assert "<i>" not in text
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self' https://app.example;" in policy
        assert (page.headers["x-frame-options"], page.headers["cache-control"]) == ("DENY", "no-store")
        assert page.headers["referrer-policy"] == "no-referrer"

    async def test_keeps_its_cookies_from_scripts_and_other_sites(self, sqlite_databases: Databases) -> None:
        public = {**VARIABLES, "PUBLIC_URL": "https://shop.example"}
        async with run_service(service, sqlite_databases, variables=public, system=SYSTEM) as run:
            identity = Identity(run)
            await identity.register()
            client, browser = await register(identity), Browser(identity)

            page = await browser.get(client.request())
            signed = await browser.sign_in(client.request())

        for cookie, name in ((page, "__Host-portico_form"), (signed, "__Host-portico_session")):
            attributes = cookie.headers["set-cookie"]
            assert attributes.startswith(f"{name}=")
            assert re.findall("HttpOnly|Secure|SameSite=lax|Path=/", attributes) == [
                "HttpOnly",
                "Path=/",
                "SameSite=lax",
                "Secure",
            ]

    async def test_accepts_only_its_own_forms(self, embedded: Identity) -> None:
        await embedded.register()
        client, browser, at = await register(embedded), Browser(embedded), (await register(embedded)).request()
        page = await browser.get(at)
        entered = {"decision": "sign_in", "email": "ada@example.com", "password": PASSWORD}

        foreign = await Browser(embedded).submit(page, at, **entered)
        await browser.submit(page, at, **entered)
        forged = await browser.post(client.request(), csrf="guess", decision="allow")

        assert (foreign.status_code, "portico_session" in foreign.headers.get("set-cookie", "")) == (403, False)
        assert (forged.status_code, b'value="allow"' in forged.content) == (200, True), "the page asks again"

    async def test_counts_failed_sign_ins_like_the_api(self, embedded: Identity) -> None:
        await embedded.register()
        client, browser = await register(embedded), Browser(embedded)

        failed = [await browser.sign_in(client.request(), password="x") for _ in range(10)]
        locked = await browser.sign_in(client.request())

        assert {answer.status_code for answer in failed} == {403}
        assert b"Incorrect email or password." in failed[0].content
        assert b'value="ada@example.com"' in failed[0].content
        assert (locked.status_code, locked.headers["retry-after"]) == (429, "900")
        assert (await embedded.try_to_sign_in()).status_code == 429
