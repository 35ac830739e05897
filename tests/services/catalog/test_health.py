from portico.testing.running_service import RunningService


class TestHealth:
    async def test_reports_the_address_and_state_of_identity(self, embedded: RunningService) -> None:
        answer = await embedded.anonymous.get("/health")

        assert answer.status_code == 200
        assert answer.json()["service"] == "catalog"
        assert answer.json()["dependencies"]["identity"] == {"address": "http://127.0.0.1:1", "status": "down"}

    async def test_is_ready_without_identity(self, embedded: RunningService) -> None:
        assert (await embedded.anonymous.get("/health/ready")).status_code == 200
