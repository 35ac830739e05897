"""Registered clients, and what they discover."""

from typing import Any

import pytest
from tests.services.identity.accounts import SYSTEM, VARIABLES, Identity
from tests.services.identity.oauth.flow import CALLBACK, Browser, query_of, register, signed_in

from portico.services.identity import service
from portico.services.identity.oauth.domain import check_redirect_address, form_target, is_registered
from portico.testing.databases import Databases
from portico.testing.running_service import run_service


class TestRegistration:
    async def test_a_client_is_registered_changed_and_deleted(self, identity: Identity) -> None:
        await identity.register()
        admin, client = await identity.administrator(), await register(identity, confidential=True)
        path = f"/oauth/clients/{client.client_id}"
        tokens = await signed_in(client)

        read = await admin.get(path)
        listed = (await admin.get("/oauth/clients")).json()
        changed = await admin.patch(path, json={"name": "Another"}, headers={"if-match": read.headers["etag"]})
        stale = await admin.patch(path, json={"name": "A third"}, headers={"if-match": read.headers["etag"]})
        renewed = await admin.post(f"{path}/secret")
        refused = await client.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        client.secret = renewed.json()["client_secret"]
        refreshed = await client.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        deleted = await admin.delete(path)

        assert "client_secret" not in read.json()
        assert [each["client_id"] for each in listed] == [client.client_id]
        assert (changed.status_code, changed.json()["name"], stale.status_code) == (200, "Another", 412)
        assert (refused.status_code, refreshed.status_code, deleted.status_code) == (401, 200, 204)
        assert await identity.reason(refreshed.json()["access_token"]) == "revoked"
        assert ((await admin.get(path)).status_code, (await admin.get("/oauth/clients")).json()) == (404, [])
        assert (await Browser(identity).get(client.request())).status_code == 400

    async def test_needs_the_permission(self, embedded: Identity) -> None:
        ada = await embedded.new_person()

        assert (await ada.get("/oauth/clients")).status_code == 403
        assert (await ada.post("/oauth/clients", json={"name": "x", "redirect_uris": [CALLBACK]})).status_code == 403

    @pytest.mark.parametrize(
        "change",
        [
            {"redirect_uris": []},
            {"redirect_uris": ["http://app.example/callback"]},
            {"post_logout_redirect_uris": ["javascript:alert(1)"]},
            {"scope": ["*"]},
            {"scope": ["unknown"]},
            {"name": "two\nlines"},
            {"name": "\u202e"},
        ],
    )
    async def test_checks_the_values(self, embedded: Identity, change: dict[str, Any]) -> None:
        body = {"name": "x", "redirect_uris": [CALLBACK]} | change

        answer = await (await embedded.administrator()).post("/oauth/clients", json=body)

        assert answer.status_code == 422


class TestRedirectAddress:
    @pytest.mark.parametrize(
        "address",
        [
            "https://app.example/callback?tenant=1",
            "http://127.0.0.1/callback",
            "http://[::1]:3000/",
            "http://localhost:3000/",
            "com.example.app:/callback",
        ],
    )
    def test_may_be_registered(self, address: str) -> None:
        assert check_redirect_address(address) == address

    @pytest.mark.parametrize(
        "address",
        [
            "",
            "/callback",
            "//app.example/callback",
            "http://app.example/",
            "http://127.0.0.1.evil.example/",
            "https://user@app.example/",
            "https://*.app.example/",
            "https://app.example/#x",
            "https://app.example\\@evil.example/",
            "https://app.example:port/",
            "https://app.example/ ",
            "https://bücher.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "myapp:/callback",
        ],
    )
    def test_may_not_be_registered(self, address: str) -> None:
        with pytest.raises(ValueError, match=r"."):
            check_redirect_address(address)

    @pytest.mark.parametrize(
        ("registered", "sent", "equal"),
        [
            ("http://127.0.0.1/cb", "http://127.0.0.1:51234/cb", True),
            ("http://[::1]:1/cb", "http://[::1]:2/cb", True),
            ("http://localhost/cb", "http://localhost:80/cb", True),
            ("http://127.0.0.1/cb", "http://127.0.0.1:1/other", False),
            ("http://127.0.0.1/cb", "http://127.0.0.1:x/cb", False),
            ("http://127.0.0.1/cb", "http://127.0.0.1:1@evil.example/cb", False),
            ("http://127.0.0.1/cb", "http://localhost:1/cb", False),
            ("http://127.0.0.1/cb", "https://127.0.0.1:1/cb", False),
            ("https://app.example/cb", "https://app.example:444/cb", False),
            ("https://app.example/cb", "https://app.example/CB", False),
        ],
    )
    def test_is_compared_as_text_but_for_the_port_of_a_native_app(
        self, registered: str, sent: str, *, equal: bool
    ) -> None:
        assert is_registered(sent, [registered], any_loopback_port=True) is equal
        assert not is_registered(sent, [registered], any_loopback_port=False)

    def test_is_a_source_of_the_pages_policy(self) -> None:
        assert form_target("https://app.example:8443/cb?x") == "https://app.example:8443"
        assert form_target("com.example.app:/cb") == "com.example.app:"
        assert form_target("http://[::1]:3000/cb") == "http:"


class TestDiscovery:
    async def test_describes_the_endpoints(self, embedded: Identity) -> None:
        server = (await embedded.anonymous.get("/.well-known/oauth-authorization-server")).json()
        openid = (await embedded.anonymous.get("/.well-known/openid-configuration")).json()

        assert server == openid
        assert openid["issuer"] == "http://localhost:1"
        assert openid["authorization_endpoint"] == "http://localhost:1/oauth/authorize"
        assert openid["userinfo_endpoint"] == "http://localhost:1/oauth/userinfo"
        assert (openid["response_types_supported"], openid["code_challenge_methods_supported"]) == (["code"], ["S256"])
        assert openid["id_token_signing_alg_values_supported"] == ["EdDSA"]
        assert {"openid", "api", "products:write"} <= set(openid["scopes_supported"])
        assert "authorization_code" in openid["grant_types_supported"]

    async def test_offers_no_openid_with_a_shared_secret(self, sqlite_databases: Databases) -> None:
        shared = {**VARIABLES, "JWT_ALGORITHM": "HS256", "JWT_SECRET": "s" * 48}
        async with run_service(service, sqlite_databases, variables=shared, system=SYSTEM) as run:
            identity = Identity(run)
            await identity.register()
            client = await register(identity)
            tokens = await signed_in(client)
            only = await Browser(identity).get(client.request(scope="openid"))

            assert (await identity.anonymous.get("/.well-known/openid-configuration")).status_code == 404
            assert "userinfo_endpoint" not in (
                (await identity.anonymous.get("/.well-known/oauth-authorization-server")).json()
            )
        assert "id_token" not in tokens
        assert query_of(only.headers["location"])["error"] == "invalid_scope"
