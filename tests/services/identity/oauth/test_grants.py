import base64
from typing import Any

import pytest
from tests.services.identity.accounts import PASSWORD, Identity


def basic(identity: Identity, name: str = "identity", secret: str | None = None) -> dict[str, str]:
    known = identity.run.context.secrets.service_secret.get_secret_value()
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret or known}".encode()).decode()}


class TestPasswordGrant:
    async def test_returns_a_pair_with_its_scope(self, identity: Identity) -> None:
        user_id = await identity.register()

        answer = await identity.form(
            "/oauth/token", grant_type="password", username="ada@example.com", password=PASSWORD
        )

        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        given = answer.json()
        assert (given["token_type"], given["expires_in"], given["scope"]) == ("Bearer", 3600, "products:write")
        assert (await identity.person(given).get("/auth/me")).json()["user_id"] == user_id

    async def test_wrong_password_is_invalid_grant(self, embedded: Identity) -> None:
        answer = await embedded.form("/oauth/token", grant_type="password", username="ada@example.com", password="x")

        assert answer.status_code == 400
        assert answer.json().keys() == {"error", "error_description"}
        assert answer.json()["error"] == "invalid_grant"

    async def test_shares_the_lockout_with_sign_in(self, embedded: Identity) -> None:
        for _ in range(10):
            await embedded.try_to_sign_in("ada@example.com", "x")

        answer = await embedded.form("/oauth/token", grant_type="password", username="ada@example.com", password="x")

        assert (answer.status_code, answer.json()["error"]) == (429, "slow_down")
        assert answer.headers["retry-after"] == "900"

    async def test_sign_ins_are_limited_per_address_but_refreshing_is_not(self, embedded: Identity) -> None:
        ada = await embedded.new_person()
        fields = {"grant_type": "password", "username": "ada@example.com", "password": PASSWORD}

        for _ in range(10):
            assert (await embedded.form("/oauth/token", **fields)).status_code == 200
        refused = await embedded.form("/oauth/token", **fields)
        elsewhere = await embedded.form("/oauth/token", {"x-forwarded-for": "203.0.113.9"}, **fields)
        refreshed = await embedded.form("/oauth/token", grant_type="refresh_token", refresh_token=ada.refresh_token)
        embedded.advance(60)

        assert (refused.status_code, refused.json()["error"], refused.headers["retry-after"]) == (
            429,
            "slow_down",
            "60",
        )
        assert (elsewhere.status_code, refreshed.status_code) == (200, 200)
        assert (await embedded.form("/oauth/token", **fields)).status_code == 200

    async def test_scope_beyond_the_users_permissions_is_rejected(self, embedded: Identity) -> None:
        await embedded.register()
        fields = {"grant_type": "password", "username": "ada@example.com", "password": PASSWORD}

        assert (await embedded.form("/oauth/token", **fields, scope="products:write")).status_code == 200
        assert (await embedded.form("/oauth/token", **fields, scope="*")).json()["error"] == "invalid_scope"


class TestRefreshGrant:
    async def test_returns_a_new_pair(self, identity: Identity) -> None:
        ada = await identity.new_person()

        answer = await identity.form("/oauth/token", grant_type="refresh_token", refresh_token=ada.refresh_token)

        assert (await identity.person(answer.json()).get("/auth/me")).status_code == 200

    async def test_a_scope_beyond_the_users_permissions_leaves_the_token_usable(self, embedded: Identity) -> None:
        ada = await embedded.new_person()
        fields = {"grant_type": "refresh_token", "refresh_token": ada.refresh_token}

        rejected = await embedded.form("/oauth/token", **fields, scope="*")
        embedded.advance(11)  # a used token would now count as stolen

        assert rejected.json()["error"] == "invalid_scope"
        assert (await embedded.form("/oauth/token", **fields)).status_code == 200

    async def test_reuse_of_a_rotated_refresh_token_revokes_the_family(self, identity: Identity) -> None:
        ada = await identity.new_person()
        await identity.form("/oauth/token", grant_type="refresh_token", refresh_token=ada.refresh_token)
        identity.advance(11)

        answer = await identity.form("/oauth/token", grant_type="refresh_token", refresh_token=ada.refresh_token)

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert await identity.reason(ada.access_token) == "revoked"


class TestClientCredentials:
    async def test_return_a_service_token(self, identity: Identity) -> None:
        answer = await identity.form("/oauth/token", basic(identity), grant_type="client_credentials")

        assert answer.status_code == 200
        given = answer.json()
        assert "refresh_token" not in given
        validated = await identity.anonymous.post("/validate-token", json={"token": given["access_token"]})
        assert (validated.json()["user_id"], validated.json()["email"]) == ("service:identity", None)

    async def test_are_accepted_in_the_form(self, embedded: Identity) -> None:
        assert (await (await embedded.as_service()).get("/auth/revocations")).status_code == 200

    async def test_only_failures_are_in_the_access_log(
        self, embedded: Identity, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines: list[dict[str, Any]] = []
        monkeypatch.setattr(embedded.run.context, "request_log", lambda **line: lines.append(line))
        for secret in (None, "guess"):
            await embedded.form("/oauth/token", basic(embedded, secret=secret), grant_type="client_credentials")

        assert [(line["path"], line["status"]) for line in lines] == [("/oauth/token", 401)]

    @pytest.mark.parametrize(("name", "secret"), [("identity", "guess"), ("unknown", None), ("identity", "é")])
    async def test_wrong_credentials_are_rejected(self, embedded: Identity, name: str, secret: str | None) -> None:
        answer = await embedded.form("/oauth/token", basic(embedded, name, secret), grant_type="client_credentials")

        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert answer.headers["cache-control"] == "no-store"

    async def test_failures_lock_the_address_but_not_the_real_service(self, embedded: Identity) -> None:
        elsewhere = {"x-forwarded-for": "203.0.113.9"}
        for _ in range(10):
            headers = basic(embedded, secret="guess") | elsewhere
            await embedded.form("/oauth/token", headers, grant_type="client_credentials")

        locked = await embedded.form("/oauth/token", basic(embedded) | elsewhere, grant_type="client_credentials")
        home = await embedded.form("/oauth/token", basic(embedded), grant_type="client_credentials")

        assert (locked.status_code, home.status_code) == (429, 200)


class TestInvalidRequest:
    @pytest.mark.parametrize(
        ("content", "error"),
        [
            (b"", "invalid_request"),
            (b"grant_type=magic", "unsupported_grant_type"),
            (b"grant_type=password", "invalid_request"),
            (b"grant_type=password&username=&password=x", "invalid_request"),
            (b"grant_type=password&grant_type=password", "invalid_request"),
            (b"grant_type=refresh_token&refresh_token=%00", "invalid_request"),
            (b"grant_type=refresh_token&refresh_token=%ff", "invalid_request"),
            (b"&".join(b"a%d=1" % number for number in range(100)), "invalid_request"),
            (b"grant_type=refresh_token&refresh_token=nonsense", "invalid_grant"),
        ],
    )
    async def test_returns_the_error_code_of_the_standard(self, embedded: Identity, content: bytes, error: str) -> None:
        headers = {"content-type": "application/x-www-form-urlencoded"}

        answer = await embedded.anonymous.post("/oauth/token", content=content, headers=headers)

        assert (answer.status_code, answer.json()["error"]) == (400, error)

    async def test_json_body_is_rejected(self, embedded: Identity) -> None:
        answer = await embedded.anonymous.post("/oauth/token", json={"grant_type": "password"})

        assert answer.json()["error"] == "invalid_request"

    @pytest.mark.parametrize("header", ["Basic ", "Basic !", "Basic bm9jb2xvbg=="])
    async def test_malformed_basic_credentials_are_rejected(self, embedded: Identity, header: str) -> None:
        answer = await embedded.form("/oauth/token", {"authorization": header}, grant_type="client_credentials")

        assert answer.json()["error"] == "invalid_client"


class TestIntrospection:
    async def test_describes_an_access_token(self, identity: Identity) -> None:
        ada = await identity.new_person()

        answer = await identity.form("/oauth/introspect", basic(identity), token=ada.access_token)

        known = answer.json()
        assert known["active"]
        assert (known["sub"], known["username"], known["scope"]) == (ada.user_id, "ada@example.com", "products:write")
        assert known["exp"] - known["iat"] == 3600

    async def test_describes_a_refresh_token(self, identity: Identity) -> None:
        ada = await identity.new_person()

        answer = await identity.form("/oauth/introspect", basic(identity), token=ada.refresh_token)

        assert (answer.json()["active"], answer.json()["sub"]) == (True, ada.user_id)

    async def test_invalid_token_is_only_inactive(self, identity: Identity) -> None:
        ada = await identity.new_person()
        await ada.post("/auth/logout")

        for token in (ada.access_token, ada.refresh_token, "nonsense"):
            answer = await identity.form("/oauth/introspect", basic(identity), token=token)
            assert answer.json() == {"active": False}

    async def test_requires_service_credentials(self, embedded: Identity) -> None:
        ada, catalog = await embedded.new_person(), await embedded.as_service("gateway")
        by_user = await embedded.form("/oauth/introspect", dict(ada.headers), token=ada.access_token)
        anonymous = await embedded.form("/oauth/introspect", token=ada.access_token)
        by_service = await embedded.form("/oauth/introspect", dict(catalog.headers), token=ada.access_token)

        by_invalid = await embedded.form("/oauth/introspect", {"authorization": "Bearer x"}, token=ada.access_token)

        assert (by_user.status_code, anonymous.status_code) == (401, 401)
        assert (by_invalid.status_code, by_invalid.json()["error"]) == (401, "invalid_token")
        assert by_invalid.headers["www-authenticate"].startswith("Bearer")
        assert by_service.json()["active"]


class TestRevocation:
    async def test_of_an_access_token_keeps_the_session(self, identity: Identity) -> None:
        ada = await identity.new_person()

        assert (await identity.form("/oauth/revoke", token=ada.access_token)).status_code == 200

        assert await identity.reason(ada.access_token) == "revoked"
        refreshed = await identity.anonymous.post("/auth/refresh", json={"refresh_token": ada.refresh_token})
        assert await identity.reason(refreshed.json()["access_token"]) is None

    async def test_of_a_refresh_token_ends_the_session(self, identity: Identity) -> None:
        ada = await identity.new_person()

        await identity.form("/oauth/revoke", token=ada.refresh_token)

        assert await identity.reason(ada.access_token) == "revoked"

    async def test_of_an_unknown_token_succeeds(self, embedded: Identity) -> None:
        assert (await embedded.form("/oauth/revoke", token="nonsense")).status_code == 200
