from tests.services.notifications.letters import Letters

from portico.services.notifications.jobs import delete_old_notifications
from portico.services.notifications.mail import MailRefused

DAY = 86_400


class TestForgetOldNotifications:
    async def test_what_is_over_goes_with_its_attempts_and_its_mail(self, letters: Letters) -> None:
        letters.fail_with(MailRefused("550 no"))
        user_id = await letters.known_user()
        for _ in range(2):
            await letters.confirmed(user_id)
        await letters.send()
        letters.run.clock.advance(91 * DAY)
        newer = await letters.confirmed(user_id)
        await letters.send()

        await delete_old_notifications.function(letters.run.context)

        assert [each["order_id"] for each in await letters.listed()] == [newer]
        assert len(await letters.mails()) == 1

    async def test_what_is_not_over_stays_however_old(self, letters: Letters) -> None:
        await letters.confirmed(await letters.known_user())
        letters.run.clock.advance(91 * DAY)

        await delete_old_notifications.function(letters.run.context)

        assert (await letters.only())["status"] == "queued"

    async def test_what_is_younger_than_that_stays(self, letters: Letters) -> None:
        await letters.confirmed(await letters.known_user())
        await letters.send()
        letters.run.clock.advance(89 * DAY)

        await delete_old_notifications.function(letters.run.context)

        assert (await letters.only())["status"] == "sent"
        assert len(await letters.mails()) == 1
