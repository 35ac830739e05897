import pytest
from tests.services.identity.accounts import Identity


class TestRoles:
    async def test_initial_roles_are_those_of_the_system(self, identity: Identity) -> None:
        answer = await (await identity.administrator()).get("/roles")

        assert answer.json() == [
            {"name": "administrator", "permissions": ["*"]},
            {"name": "auditor", "permissions": ["audit:read", "users:read"]},
            {"name": "clerk", "permissions": ["roles:write"]},
            {"name": "customer", "permissions": ["products:write"]},
        ]

    async def test_role_can_be_created_and_assigned(self, identity: Identity) -> None:
        ada, admin = await identity.new_person(), await identity.administrator()
        draft = {"name": "buyer", "permissions": ["stock:write", "products:write", "stock:write"]}

        answer = await admin.post("/roles", json=draft)
        await admin.put(f"/users/{ada.user_id}/roles", json={"roles": ["buyer"]})

        assert (answer.status_code, answer.json()["permissions"]) == (201, ["products:write", "stock:write"])
        token = (await identity.sign_in()).access_token
        validated = (await identity.anonymous.post("/validate-token", json={"token": token})).json()
        assert (validated["roles"], validated["permissions"]) == (["buyer"], ["products:write", "stock:write"])

    async def test_assignment_with_an_outdated_etag_is_rejected(self, embedded: Identity) -> None:
        ada, admin = await embedded.new_person(), await embedded.administrator()
        path = f"/users/{ada.user_id}/roles"
        seen = {"if-match": (await admin.get(f"/users/{ada.user_id}")).headers["etag"]}

        answers = [await admin.put(path, json={"roles": each}, headers=seen) for each in (["clerk"], ["auditor"])]

        assert [answer.status_code for answer in answers] == [200, 412]

    async def test_taken_name_is_rejected(self, identity: Identity) -> None:
        answer = await (await identity.administrator()).post("/roles", json={"name": "customer", "permissions": []})

        assert (answer.status_code, answer.json()["code"]) == (409, "role_taken")

    @pytest.mark.parametrize(
        "draft",
        [
            {"name": "Buyer", "permissions": []},
            {"name": "", "permissions": []},
            {"name": "b" * 65, "permissions": []},
            {"name": "buyer", "permissions": ["write"]},
            {"name": "buyer", "permissions": ["a b:c"]},
            {"name": "buyer", "permissions": ["a:b"] * 51},
            {"name": "buyer"},
        ],
    )
    async def test_invalid_role_is_rejected(self, embedded: Identity, draft: dict[str, object]) -> None:
        assert (await (await embedded.administrator()).post("/roles", json=draft)).status_code == 422

    async def test_requires_the_permission(self, embedded: Identity) -> None:
        ada = await embedded.new_person()

        assert (await ada.get("/roles")).status_code == 403
        assert (await ada.post("/roles", json={"name": "buyer", "permissions": []})).status_code == 403

    async def test_caller_cannot_create_a_role_with_a_permission_it_does_not_have(self, embedded: Identity) -> None:
        ada, admin = await embedded.new_person(), await embedded.administrator()
        await admin.put(f"/users/{ada.user_id}/roles", json={"roles": ["clerk"]})

        answer = await (await embedded.sign_in()).post("/roles", json={"name": "king", "permissions": ["*"]})

        assert answer.json()["code"] == "beyond_own_rights"
