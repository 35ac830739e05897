from tests.services.identity.accounts import Identity

from portico.testing.fuzzing import Fuzzing


class TestIdentity:
    async def test_responses_match_the_openapi_document(self, embedded: Identity) -> None:
        administrator, person = await embedded.administrator(), await embedded.new_person()
        service = await embedded.as_service()
        bearers = [
            administrator.access_token,
            person.access_token,
            service.headers["authorization"].removeprefix("Bearer "),
            None,
        ]

        ending = frozenset({"/auth/logout", "/auth/me/password", "/auth/sessions/{session_id}"})

        assert await Fuzzing(embedded.run, bearers, {"user_id": [person.user_id]}, ending).run() > 10
