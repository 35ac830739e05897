import asyncio

import pytest
from sqlalchemy import select
from tests.services.identity.accounts import ADMIN, PASSWORD, Identity

from portico.contracts.identity import UserId
from portico.services.identity.models import Session
from portico.services.identity.users.models import User


class TestReadUsers:
    async def test_requires_the_permission(self, identity: Identity) -> None:
        ada, admin = await identity.new_person(), await identity.administrator()

        refused = await ada.get("/users")
        listed = await admin.get("/users")

        assert (refused.status_code, refused.json()["permission"]) == (403, "users:read")
        assert [user["email"] for user in listed.json()] == [ADMIN, "ada@example.com"]
        assert listed.headers["x-total-count"] == "2"

    async def test_lists_users_in_pages(self, identity: Identity) -> None:
        for number in range(4):
            await identity.register(f"user{number}@example.com")
        admin, seen, path = await identity.administrator(), [], "/users?limit=2"
        while path:
            answer = await admin.get(path)
            seen += [user["email"] for user in answer.json()]
            links = dict(reversed(link.split("; ")) for link in answer.headers["link"].split(", "))
            path = links.get('rel="next"', "")[1:-1]

        assert seen == [ADMIN, *(f"user{number}@example.com" for number in range(4))]

    async def test_user_reads_only_the_own_account(self, embedded: Identity) -> None:
        ada, bob = await embedded.new_person(), await embedded.register("bob@example.com")

        assert (await ada.get(f"/users/{ada.user_id}")).json()["email"] == "ada@example.com"
        assert (await ada.get(f"/users/{bob}")).status_code == 403
        assert (await ada.get(f"/users/{UserId.new()}")).status_code == 403

    async def test_unknown_user_is_404(self, embedded: Identity) -> None:
        admin = await embedded.administrator()

        answer = await admin.get(f"/users/{UserId.new()}")

        assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")
        assert answer.json()["detail"].startswith("User not found")


class TestChangeUser:
    async def test_user_and_administrators_may_change_the_names(self, identity: Identity) -> None:
        ada, admin = await identity.new_person(), await identity.administrator()
        bob = await identity.new_person("bob@example.com")
        path = f"/users/{ada.user_id}"

        assert (await ada.patch(path, json={"name": "Ada"})).json()["name"] == "Ada"
        assert (await admin.patch(path, json={"name": "Eda"})).json()["name"] == "Eda"
        assert (await bob.patch(path, json={"name": "Bob"})).status_code == 403

    async def test_only_administrators_may_deactivate(self, embedded: Identity) -> None:
        ada = await embedded.new_person()

        answer = await ada.patch(f"/users/{ada.user_id}", json={"is_active": True})

        assert (answer.status_code, answer.json()["permission"]) == (403, "users:write")

    async def test_reactivated_user_must_sign_in_again(self, identity: Identity) -> None:
        ada, admin = await identity.new_person(), await identity.administrator()
        path = f"/users/{ada.user_id}"

        await admin.patch(path, json={"is_active": False})
        await admin.patch(path, json={"is_active": True})

        assert await identity.reason(ada.access_token) == "revoked"
        assert (await identity.try_to_sign_in()).status_code == 200

    async def test_one_of_several_concurrent_changes_with_the_same_etag_succeeds(self, identity: Identity) -> None:
        ada = await identity.new_person()
        path = f"/users/{ada.user_id}"
        tag = (await ada.get(path)).headers["etag"]

        answers = await asyncio.gather(
            *(ada.patch(path, json={"name": f"n{number}"}, headers={"if-match": tag}) for number in range(5))
        )

        assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412]


class TestDeleteUser:
    async def test_erases_personal_data(self, identity: Identity) -> None:
        ada, admin = await identity.new_person(), await identity.administrator()
        await ada.patch("/auth/me", json={"first_name": "Ada", "phone": "12345"})

        assert (await ada.delete(f"/users/{ada.user_id}")).status_code == 204

        seen = (await admin.get(f"/users/{ada.user_id}")).json()
        assert [seen[name] for name in ("email", "name", "first_name", "last_name", "phone")] == [None] * 5
        assert (seen["is_active"], seen["roles"]) == (False, [])
        async with identity.run.context.reader() as reader:
            kept = await reader.one(select(User).where(User.user_id == ada.user_id))
        assert kept is not None
        assert (kept.email_key, kept.password_hash) == (None, None)

    async def test_revokes_the_tokens(self, identity: Identity) -> None:
        ada, admin = await identity.new_person(), await identity.administrator()

        await admin.delete(f"/users/{ada.user_id}")

        assert await identity.reason(ada.access_token) == "user_inactive"
        assert (await identity.try_to_sign_in()).status_code == 401

    async def test_email_address_can_be_registered_again(self, identity: Identity) -> None:
        ada = await identity.new_person()
        await ada.delete(f"/users/{ada.user_id}")

        assert await identity.register() != ada.user_id

    async def test_deleted_account_cannot_be_changed_or_deleted_again(self, embedded: Identity) -> None:
        ada, admin = await embedded.new_person(), await embedded.administrator()
        path = f"/users/{ada.user_id}"
        await admin.delete(path)

        assert (await admin.delete(path)).status_code == 404
        assert (await admin.patch(path, json={"is_active": True})).json()["code"] == "user_deleted"

    async def test_user_cannot_delete_another_user(self, embedded: Identity) -> None:
        ada, bob = await embedded.new_person(), await embedded.register("bob@example.com")

        assert (await ada.delete(f"/users/{bob}")).status_code == 403

    async def test_erases_devices_and_addresses_of_sessions(self, identity: Identity) -> None:
        ada = await identity.new_person()
        await ada.delete(f"/users/{ada.user_id}")
        async with identity.run.context.reader() as reader:
            session = await reader.one(select(Session).where(Session.user_id == ada.user_id))
        assert session is not None
        assert (session.device, session.address) == ("", "")


class TestAssignRoles:
    async def test_replaces_the_roles(self, identity: Identity) -> None:
        ada, admin = await identity.new_person(), await identity.administrator()

        answer = await admin.put(f"/users/{ada.user_id}/roles", json={"roles": ["auditor", "customer", "auditor"]})

        assert answer.json()["roles"] == ["auditor", "customer"]

    async def test_revokes_access_tokens_and_keeps_sessions(self, identity: Identity) -> None:
        ada, admin = await identity.new_person(), await identity.administrator()

        await admin.put(f"/users/{ada.user_id}/roles", json={"roles": ["auditor"]})

        assert await identity.reason(ada.access_token) == "revoked"
        answer = await identity.anonymous.post("/auth/refresh", json={"refresh_token": ada.refresh_token})
        fresh = identity.person(answer.json())
        assert (await fresh.get("/users")).status_code == 200
        assert await identity.reason(fresh.access_token) is None

    async def test_token_issued_in_the_same_second_is_valid(self, identity: Identity) -> None:
        ada, admin = await identity.new_person(), await identity.administrator()
        identity.advance(0.7)

        await admin.put(f"/users/{ada.user_id}/roles", json={"roles": []})

        assert await identity.reason((await identity.sign_in()).access_token) is None

    async def test_unchanged_roles_revoke_nothing(self, embedded: Identity) -> None:
        ada, admin = await embedded.new_person(), await embedded.administrator()

        await admin.put(f"/users/{ada.user_id}/roles", json={"roles": ["customer"]})

        assert await embedded.reason(ada.access_token) is None

    async def test_unknown_role_is_rejected(self, embedded: Identity) -> None:
        ada, admin = await embedded.new_person(), await embedded.administrator()

        answer = await admin.put(f"/users/{ada.user_id}/roles", json={"roles": ["king"]})

        assert (answer.status_code, answer.json()["code"]) == (422, "role_unknown")
        assert answer.json()["existing"] == ["administrator", "auditor", "clerk", "customer"]
        assert answer.json()["detail"].endswith("Existing roles: administrator, auditor, clerk, customer.")

    async def test_requires_the_permission(self, embedded: Identity) -> None:
        ada = await embedded.new_person()

        answer = await ada.put(f"/users/{ada.user_id}/roles", json={"roles": ["administrator"]})

        assert (answer.status_code, answer.json()["permission"]) == (403, "roles:write")

    @pytest.mark.parametrize("role", ["administrator", "auditor"])
    async def test_caller_cannot_grant_a_permission_it_does_not_have(self, embedded: Identity, role: str) -> None:
        ada, admin = await embedded.new_person(), await embedded.administrator()
        await admin.put(f"/users/{ada.user_id}/roles", json={"roles": ["clerk"]})
        clerk = await embedded.sign_in()

        answer = await clerk.put(f"/users/{ada.user_id}/roles", json={"roles": ["clerk", role]})

        assert (answer.status_code, answer.json()["code"]) == (403, "beyond_own_rights")

    async def test_caller_cannot_remove_a_permission_it_does_not_have(self, embedded: Identity) -> None:
        ada, admin = await embedded.new_person(), await embedded.administrator()
        await admin.put(f"/users/{ada.user_id}/roles", json={"roles": ["clerk"]})

        answer = await (await embedded.sign_in()).put(f"/users/{admin.user_id}/roles", json={"roles": []})

        assert answer.json()["code"] == "beyond_own_rights"


class TestLastAdministrator:
    async def test_cannot_be_removed(self, identity: Identity) -> None:
        admin = await identity.administrator()
        path = f"/users/{admin.user_id}"

        refusals = [
            await admin.put(f"{path}/roles", json={"roles": []}),
            await admin.patch(path, json={"is_active": False}),
            await admin.delete(path),
        ]

        assert [answer.status_code for answer in refusals] == [409] * 3
        assert {answer.json()["code"] for answer in refusals} == {"last_administrator"}
        assert (await admin.get(path)).json()["is_active"]

    async def test_one_remains_when_two_remove_each_other_concurrently(self, identity: Identity) -> None:
        admin = await identity.administrator()
        ada = await identity.new_person()
        await admin.put(f"/users/{ada.user_id}/roles", json={"roles": ["administrator"]})
        ada = await identity.sign_in()

        answers = await asyncio.gather(
            admin.put(f"/users/{ada.user_id}/roles", json={"roles": []}),
            ada.put(f"/users/{admin.user_id}/roles", json={"roles": []}),
        )

        assert sorted(answer.status_code for answer in answers) in ([200, 401], [200, 409])
        holders = [
            await identity.anonymous.post("/login", json={"email": email, "password": PASSWORD})
            for email in (ADMIN, "ada@example.com")
        ]
        assert any("administrator" in answer.json()["user"]["roles"] for answer in holders)
