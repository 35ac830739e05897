from tests.services.identity.accounts import PASSWORD, Identity


class TestAuditLog:
    async def test_entry_names_the_actor_the_user_and_the_address(self, identity: Identity) -> None:
        ada, admin = await identity.new_person(), await identity.administrator()
        origin = {"x-forwarded-for": "203.0.113.9"}

        await admin.put(f"/users/{ada.user_id}/roles", json={"roles": ["auditor"]}, headers=origin)

        (entry,) = await identity.audited("user.roles_changed")
        assert (entry["actor"], entry["user_id"], entry["address"]) == (admin.user_id, ada.user_id, "203.0.113.9")
        assert entry["details"] == {"before": ["customer"], "after": ["auditor"]}

    async def test_contains_every_security_relevant_action(self, identity: Identity) -> None:
        ada, admin = await identity.new_person(), await identity.administrator()
        change = {"current_password": PASSWORD, "new_password": PASSWORD + "!"}
        await ada.post("/auth/me/password", json=change)
        await identity.form("/oauth/revoke", token=ada.access_token)
        await admin.post("/roles", json={"name": "buyer", "permissions": []})
        await admin.delete(f"/users/{ada.user_id}")

        actions = {entry["action"] for entry in (await admin.get("/audit?limit=1000")).json()}

        assert actions >= {
            "keys.rotated",
            "role.created",
            "sign_in.succeeded",
            "token.revoked",
            "session.revoked",
            "user.created",
            "user.deleted",
            "user.password_changed",
            "user.registered",
        }

    async def test_contains_no_secrets_and_no_email_addresses(self, identity: Identity) -> None:
        ada = await identity.new_person()
        await identity.try_to_sign_in(password="a wrong password")

        answer = await (await identity.administrator()).get("/audit?limit=1000")

        for secret in (PASSWORD, "a wrong password", "ada@example.com", ada.refresh_token, ada.access_token):
            assert secret not in answer.content.decode()

    async def test_can_be_filtered_and_paged(self, identity: Identity) -> None:
        ada = await identity.new_person()
        await identity.register("bob@example.com")
        admin = await identity.administrator()

        of_ada = await admin.get(f"/audit?user_id={ada.user_id}")
        one = await admin.get("/audit?action=user.registered&limit=1")

        assert {entry["user_id"] for entry in of_ada.json()} == {ada.user_id}
        assert one.headers["x-total-count"] == "2"
        assert 'rel="next"' in one.headers["link"]

    async def test_requires_the_permission(self, embedded: Identity) -> None:
        assert (await (await embedded.new_person()).get("/audit")).status_code == 403
