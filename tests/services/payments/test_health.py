from portico.testing.running_service import RunningService


class TestHealth:
    async def test_is_ready_without_other_services(self, embedded: RunningService) -> None:
        response = await embedded.anonymous.get("/health")

        assert response.json()["service"] == "payments"
        assert {
            name: each["status"] for name, each in response.json()["dependencies"].items() if "address" in each
        } == {
            "identity": "down",
            "orders": "down",
        }
        assert (await embedded.anonymous.get("/health/ready")).status_code == 200
