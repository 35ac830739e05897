from pathlib import Path

from tests.services.notifications.support import NotificationsService

from portico.services.notifications import service
from portico.testing.databases import Databases
from portico.testing.running_service import run_service


class TestHealth:
    async def test_reports_the_mailer(self, embedded: NotificationsService) -> None:
        found = (await embedded.run.anonymous.get("/health/detailed")).json()

        assert found["dependencies"]["mail"]["status"] == "up"

    async def test_is_ready_while_the_mail_server_is_down(self, sqlite_databases: Databases, tmp_path: Path) -> None:
        variables = {
            "SMTP_URL": "smtp://127.0.0.1:1",
            "NOTIFICATIONS_MAIL_FROM": "shop@shop.example",
            "DATA_DIR": str(tmp_path),
        }
        async with run_service(service, sqlite_databases, variables=variables, background=False) as run:
            ready = await run.anonymous.get("/health/ready")
            detailed = (await run.anonymous.get("/health/detailed")).json()

        assert ready.status_code == 200
        assert detailed["dependencies"]["mail"]["status"] == "down"
