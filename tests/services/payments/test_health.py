from portico.testing.running_service import RunningService


class TestHealth:
    async def test_is_ready_without_its_neighbours(self, embedded: RunningService) -> None:
        answer = await embedded.anonymous.get("/health")

        assert answer.json()["service"] == "payments"
        assert {name: each["status"] for name, each in answer.json()["dependencies"].items() if "address" in each} == {
            "identity": "down",
            "orders": "down",
        }
        assert (await embedded.anonymous.get("/health/ready")).status_code == 200
