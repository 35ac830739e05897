from tests.services.notifications.letters import Letters

from portico.services.notifications.mail import MailRefused
from portico.testing.fuzzing import Fuzzing


class TestNotifications:
    async def test_answer_whatever_they_are_asked_as_their_document_says(self, embedded: Letters) -> None:
        embedded.fail_with(MailRefused("550 no such user"))
        ada = await embedded.known_user()
        for _ in range(3):
            await embedded.confirmed(ada)
        await embedded.send()
        known = {
            "notification_id": [each["notification_id"] for each in await embedded.listed()],
            "mail_id": [each.mail_id for each in await embedded.mails()],
            "name": ["order-confirmed"],
        }
        issuer = embedded.run.issuer
        bearers = [
            issuer.token(permissions=["*"], lasting=10_000_000),
            issuer.token(ada, lasting=10_000_000),
            issuer.token("service:orders", lasting=10_000_000),
            None,
        ]

        assert await Fuzzing(embedded.run, bearers, known=known).run() > 5
