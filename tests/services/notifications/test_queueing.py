import pytest
from tests.services.notifications.support import NotificationsService, order_event, ordered_item

from portico.contracts.orders import OrderId
from portico.kit.auth.principal import UserId
from portico.services.notifications.mail import MailRefused


class TestRules:
    @pytest.mark.parametrize(
        ("status", "template"),
        [("confirmed", "order-confirmed"), ("shipped", "order-shipped"), ("cancelled", "order-cancelled")],
    )
    async def test_queue_a_mail_to_the_customer(
        self, notifications: NotificationsService, status: str, template: str
    ) -> None:
        ada = await notifications.create_user(email="ada@example.com")

        order_id = await notifications.confirm_order(ada, status=status)
        await notifications.send_due()

        found = await notifications.single()
        assert (found["template"], found["user_id"], found["order_id"]) == (template, ada, order_id)
        assert (found["status"], found["channel"], found["template_version"]) == ("sent", "email", 1)
        (mail,) = await notifications.mails()
        assert mail.recipient == "Ada Lovelace <ada@example.com>"
        assert order_id in mail.subject

    @pytest.mark.parametrize("status", ["pending", "reserved", "paid", "delivered", "returned"])
    async def test_ignore_other_statuses(self, embedded: NotificationsService, status: str) -> None:
        await embedded.confirm_order(await embedded.create_user(), status=status)

        assert await embedded.list_notifications() == []


class TestRepeatedEvents:
    async def test_queue_one_mail(self, notifications: NotificationsService) -> None:
        event = order_event(await notifications.create_user())

        await notifications.run.receives(event, event)
        await notifications.send_due()

        assert len(await notifications.list_notifications()) == 1
        assert len(await notifications.mails()) == 1

    async def test_two_events_with_the_same_status_queue_one_mail(self, notifications: NotificationsService) -> None:
        ada, order_id = await notifications.create_user(), OrderId.new()

        await notifications.run.receives(order_event(ada, order_id=order_id), order_event(ada, order_id=order_id))

        assert len(await notifications.list_notifications()) == 1

    async def test_each_status_of_an_order_queues_a_mail(self, notifications: NotificationsService) -> None:
        ada, order_id = await notifications.create_user(), OrderId.new()

        for status in ("confirmed", "shipped"):
            await notifications.run.receives(order_event(ada, order_id=order_id, status=status))
        await notifications.send_due()

        assert sorted(each["template"] for each in await notifications.list_notifications()) == [
            "order-confirmed",
            "order-shipped",
        ]
        assert len(await notifications.mails()) == 2


class TestContent:
    async def test_lists_the_ordered_items(self, embedded: NotificationsService) -> None:
        items = (ordered_item("Lamp", 2, "19.99"), ordered_item("Laptop", 1, "1999.50"))
        await embedded.confirm_order(await embedded.create_user(), items=items)

        await embedded.send_due()

        (mail,) = await embedded.mails()
        assert mail.html is not None
        for body in (mail.text, mail.html):
            assert "Hello Ada Lovelace," in body
            assert "39.98 USD" in body
            assert "1,999.50 USD" in body
            assert "2,039.48 USD" in body
        assert "2 x Lamp: 39.98 USD\n1 x Laptop: 1,999.50 USD\nTotal: 2,039.48 USD\n" in mail.text
        assert mail.sender == "Shop <shop@shop.example>"
        assert "\n-- \nShop\n" in mail.text

    async def test_shows_no_decimals_for_a_currency_without_minor_units(self, embedded: NotificationsService) -> None:
        await embedded.confirm_order(
            await embedded.create_user(), items=(ordered_item("Lamp", 1, "1200"),), currency="JPY"
        )

        await embedded.send_due()

        assert "1 x Lamp: 1,200 JPY\n" in (await embedded.mails())[0].text

    async def test_escapes_user_input(self, embedded: NotificationsService) -> None:
        ada = await embedded.create_user("<b>Ada</b> {{ 7 * 7 }}")
        await embedded.confirm_order(ada, items=(ordered_item("<script>alert(1)</script>\n\nTotal: 0.00 USD", 1, "5"),))

        await embedded.send_due()

        (mail,) = await embedded.mails()
        assert mail.html is not None
        assert "<script>" not in mail.html
        assert "&lt;b&gt;Ada&lt;/b&gt; {{ 7 * 7 }}" in mail.html
        assert "\nTotal: 0.00 USD" not in mail.text

    async def test_a_name_with_line_breaks_cannot_inject_a_header(self, embedded: NotificationsService) -> None:
        ada = await embedded.create_user("Ada\r\nBcc:\u2028 \u202emallory@example.com", email="ada@example.com")
        await embedded.confirm_order(ada)

        await embedded.send_due()

        (mail,) = await embedded.mails()
        assert mail.recipient == '"Ada Bcc: mallory@example.com" <ada@example.com>'

    async def test_greets_a_user_without_a_name(self, embedded: NotificationsService) -> None:
        await embedded.confirm_order(await embedded.create_user(""))

        await embedded.send_due()

        assert (await embedded.mails())[0].text.startswith("Hello,\n\n")


class TestRecipients:
    async def test_the_mail_goes_to_the_current_address(self, notifications: NotificationsService) -> None:
        ada = await notifications.create_user()
        await notifications.confirm_order(ada)
        await notifications.rename(ada, "Ada King", "countess@example.com")

        await notifications.send_due()

        assert [mail.recipient for mail in await notifications.mails()] == ["Ada King <countess@example.com>"]

    async def test_a_mail_waits_until_the_address_is_known(self, notifications: NotificationsService) -> None:
        ada = UserId.new()
        await notifications.confirm_order(ada)
        await notifications.send_due()
        assert [(each["status"], each["attempt_count"]) for each in await notifications.list_notifications()] == [
            ("waiting", 0)
        ]

        await notifications.rename(ada, "Ada", "ada@example.com")
        await notifications.send_due()

        assert [mail.recipient for mail in await notifications.mails()] == ["Ada <ada@example.com>"]

    async def test_the_address_is_rechecked_periodically(self, notifications: NotificationsService) -> None:
        await notifications.confirm_order(UserId.new())
        looks = []
        for _ in range(6):
            await notifications.send_due()
            found = await notifications.single()
            looks.append(found["due_at"])
            notifications.run.clock.advance(3 * 60)

        assert len(set(looks)) == 6

    async def test_a_mail_fails_if_the_address_stays_unknown(self, notifications: NotificationsService) -> None:
        await notifications.confirm_order(UserId.new())
        await notifications.send_due()
        notifications.run.clock.advance(3601)

        await notifications.send_due()

        found = await notifications.single()
        assert (found["status"], found["failure_reason"], found["due_at"]) == ("failed", "recipient_unknown", None)


class TestDeletedUsers:
    async def test_receive_no_mail(self, notifications: NotificationsService) -> None:
        ada = await notifications.create_user()
        await notifications.confirm_order(ada)
        await notifications.delete(ada)

        await notifications.send_due()

        found = await notifications.single()
        assert (found["status"], found["failure_reason"]) == ("failed", "recipient_deleted")
        assert await notifications.mails() == []

    async def test_are_removed_from_notifications(self, notifications: NotificationsService) -> None:
        ada = await notifications.create_user(email="ada@example.com")
        notifications.fail_with(MailRefused("550 <ada@example.com>: no such user"))
        await notifications.confirm_order(ada)
        await notifications.send_due()
        assert "ada@example.com" in str(await notifications.read_detail())

        await notifications.delete(ada)

        found = await notifications.read_detail()
        assert "ada@example.com" not in str(found)
        assert [each["outcome"] for each in found["attempts"]] == ["refused"]

    async def test_are_not_restored_by_late_events(self, notifications: NotificationsService) -> None:
        ada = UserId.new()
        await notifications.delete(ada)
        await notifications.rename(ada, "Ada", "ada@example.com")
        await notifications.confirm_order(ada)

        await notifications.send_due()

        assert (await notifications.single())["failure_reason"] == "recipient_deleted"
