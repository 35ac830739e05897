from tests.services.notifications.support import NotificationsService

from portico.services.notifications.jobs import delete_old_notifications
from portico.services.notifications.mail import MailRefused

DAY = 86_400


class TestDeleteOldNotifications:
    async def test_deletes_finished_notifications_with_attempts_and_mail(
        self, notifications: NotificationsService
    ) -> None:
        notifications.fail_with(MailRefused("550 no"))
        user_id = await notifications.create_user()
        for _ in range(2):
            await notifications.confirm_order(user_id)
        await notifications.send_due()
        notifications.run.clock.advance(91 * DAY)
        newer = await notifications.confirm_order(user_id)
        await notifications.send_due()

        await delete_old_notifications.function(notifications.run.context)

        assert [each["order_id"] for each in await notifications.list_notifications()] == [newer]
        assert len(await notifications.mails()) == 1

    async def test_keeps_unfinished_notifications(self, notifications: NotificationsService) -> None:
        await notifications.confirm_order(await notifications.create_user())
        notifications.run.clock.advance(91 * DAY)

        await delete_old_notifications.function(notifications.run.context)

        assert (await notifications.single())["status"] == "queued"

    async def test_keeps_recent_notifications(self, notifications: NotificationsService) -> None:
        await notifications.confirm_order(await notifications.create_user())
        await notifications.send_due()
        notifications.run.clock.advance(89 * DAY)

        await delete_old_notifications.function(notifications.run.context)

        assert (await notifications.single())["status"] == "sent"
        assert len(await notifications.mails()) == 1
