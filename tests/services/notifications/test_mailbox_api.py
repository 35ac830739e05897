from pathlib import Path

from tests.services.notifications.support import NotificationsService, order_event
from tests.support.smtp import HOST, serving_mail

from portico.contracts.identity import UserCreated
from portico.kit.auth.principal import UserId
from portico.services.notifications import service
from portico.services.notifications.mail import MailId
from portico.services.notifications.sender import Sender
from portico.testing.databases import Databases
from portico.testing.running_service import run_service


class TestMailbox:
    async def test_lists_sent_mails(self, embedded: NotificationsService) -> None:
        order_id = await embedded.confirm_order(await embedded.create_user(email="ada@example.com"))
        await embedded.send_due()

        (listed,) = (await embedded.staff.get("/mailbox")).json()
        answer = await embedded.staff.get(f"/mailbox/{listed['mail_id']}")

        assert listed["mail_id"] == (await embedded.single())["mail_id"]
        assert listed["message_id"] == f"<{listed['mail_id']}@shop.example>"
        assert listed["subject"] == f"Your order {order_id} is confirmed"
        assert answer.json().items() > listed.items()
        assert answer.json()["text"].startswith("Hello Ada Lovelace,\n")
        assert "<strong>39.98 USD</strong>" in answer.json()["html"]
        assert answer.headers["etag"]

    async def test_is_paged(self, embedded: NotificationsService) -> None:
        ada = await embedded.create_user()
        orders = [await embedded.confirm_order(ada) for _ in range(3)]
        await embedded.send_due()

        first = await embedded.staff.get("/mailbox?limit=2")
        link = first.headers["link"].partition('>; rel="next"')[0].rpartition("<")[2]
        second = await embedded.staff.get(link)

        assert first.headers["x-total-count"] == "3"
        subjects = [each["subject"] for each in [*first.json(), *second.json()]]
        assert sorted(subjects) == sorted(f"Your order {order_id} is confirmed" for order_id in orders)

    async def test_an_unknown_mail_is_404(self, embedded: NotificationsService) -> None:
        answer = await embedded.staff.get(f"/mailbox/{MailId.new()}")

        assert (answer.status_code, answer.json()["code"]) == (404, "mail_not_found")

    async def test_requires_the_permission(self, embedded: NotificationsService) -> None:
        assert (await embedded.run.as_user().get("/mailbox")).status_code == 403
        assert (await embedded.run.anonymous.get("/mailbox")).status_code == 401


class TestWithSmtp:
    async def test_sends_mails_and_has_no_mailbox(self, sqlite_databases: Databases, tmp_path: Path) -> None:
        with serving_mail() as server:
            variables = {
                "DATA_DIR": str(tmp_path),
                "SMTP_URL": f"smtp://{HOST}:{server.port}",
                "NOTIFICATIONS_MAIL_FROM": "Shop <shop@shop.example>",
            }
            async with run_service(service, sqlite_databases, variables=variables, background=False) as run:
                ada = UserId.new()
                await run.receives(UserCreated(user_id=ada, email="ada@example.com", name="Ada"), order_event(ada))
                await run.context.resource(Sender).send_due()
                staff = run.as_user("notifications:read")
                looks = [await staff.get(path) for path in ("/mailbox", f"/mailbox/{MailId.new()}")]
                (found,) = (await staff.get("/notifications")).json()

            assert [(each.status_code, each.json()["code"]) for each in looks] == [(409, "no_embedded_mailbox")] * 2
            assert found["status"] == "sent"
            (received,) = server.received
            assert received.recipients == ("ada@example.com",)
            assert received.message["message-id"] == f"<{found['mail_id']}@shop.example>"
