import pytest
from tests.services.notifications.letters import Letters, item, order

from portico.contracts.orders import OrderId
from portico.kit.auth.principal import UserId
from portico.services.notifications.mail import MailRefused


class TestRules:
    @pytest.mark.parametrize(
        ("status", "template"),
        [("confirmed", "order-confirmed"), ("shipped", "order-shipped"), ("cancelled", "order-cancelled")],
    )
    async def test_the_customer_is_told(self, letters: Letters, status: str, template: str) -> None:
        ada = await letters.known_user(email="ada@example.com")

        order_id = await letters.confirmed(ada, status=status)
        await letters.send()

        found = await letters.only()
        assert (found["template"], found["user_id"], found["order_id"]) == (template, ada, order_id)
        assert (found["status"], found["channel"], found["template_version"]) == ("sent", "email", 1)
        (mail,) = await letters.mails()
        assert mail.recipient == "Ada Lovelace <ada@example.com>"
        assert order_id in mail.subject

    @pytest.mark.parametrize("status", ["pending", "reserved", "paid", "delivered", "returned"])
    async def test_of_all_else_nobody_is(self, embedded: Letters, status: str) -> None:
        await embedded.confirmed(await embedded.known_user(), status=status)

        assert await embedded.listed() == []


class TestRepeatedEvents:
    async def test_have_one_effect(self, letters: Letters) -> None:
        event = order(await letters.known_user())

        await letters.run.receives(event, event)
        await letters.send()

        assert len(await letters.listed()) == 1
        assert len(await letters.mails()) == 1

    async def test_another_event_of_the_same_news_is_no_second_mail(self, letters: Letters) -> None:
        ada, order_id = await letters.known_user(), OrderId.new()

        await letters.run.receives(order(ada, order_id=order_id), order(ada, order_id=order_id))

        assert len(await letters.listed()) == 1

    async def test_each_news_of_an_order_is_a_mail(self, letters: Letters) -> None:
        ada, order_id = await letters.known_user(), OrderId.new()

        for status in ("confirmed", "shipped"):
            await letters.run.receives(order(ada, order_id=order_id, status=status))
        await letters.send()

        assert sorted(each["template"] for each in await letters.listed()) == ["order-confirmed", "order-shipped"]
        assert len(await letters.mails()) == 2


class TestContent:
    async def test_tells_what_was_ordered(self, embedded: Letters) -> None:
        items = (item("Lamp", 2, "19.99"), item("Laptop", 1, "1999.50"))
        await embedded.confirmed(await embedded.known_user(), items=items)

        await embedded.send()

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

    async def test_a_currency_without_cents_has_none(self, embedded: Letters) -> None:
        await embedded.confirmed(await embedded.known_user(), items=(item("Lamp", 1, "1200"),), currency="JPY")

        await embedded.send()

        assert "1 x Lamp: 1,200 JPY\n" in (await embedded.mails())[0].text

    async def test_what_people_wrote_is_never_markup(self, embedded: Letters) -> None:
        ada = await embedded.known_user("<b>Ada</b> {{ 7 * 7 }}")
        await embedded.confirmed(ada, items=(item("<script>alert(1)</script>\n\nTotal: 0.00 USD", 1, "5"),))

        await embedded.send()

        (mail,) = await embedded.mails()
        assert mail.html is not None
        assert "<script>" not in mail.html
        assert "&lt;b&gt;Ada&lt;/b&gt; {{ 7 * 7 }}" in mail.html
        assert "\nTotal: 0.00 USD" not in mail.text

    async def test_a_name_with_line_breaks_slips_in_no_header(self, embedded: Letters) -> None:
        ada = await embedded.known_user("Ada\r\nBcc: mallory@example.com", email="ada@example.com")
        await embedded.confirmed(ada)

        await embedded.send()

        (mail,) = await embedded.mails()
        assert mail.recipient == '"Ada Bcc: mallory@example.com" <ada@example.com>'

    async def test_a_nameless_person_is_greeted_too(self, embedded: Letters) -> None:
        await embedded.confirmed(await embedded.known_user(""))

        await embedded.send()

        assert (await embedded.mails())[0].text.startswith("Hello,\n\n")


class TestRecipients:
    async def test_the_address_of_the_moment_counts(self, letters: Letters) -> None:
        ada = await letters.known_user()
        await letters.confirmed(ada)
        await letters.rename(ada, "Ada King", "countess@example.com")

        await letters.send()

        assert [mail.recipient for mail in await letters.mails()] == ["Ada King <countess@example.com>"]

    async def test_a_mail_waits_for_the_address(self, letters: Letters) -> None:
        ada = UserId.new()
        await letters.confirmed(ada)
        await letters.send()
        assert [(each["status"], each["attempt_count"]) for each in await letters.listed()] == [("waiting", 0)]

        await letters.rename(ada, "Ada", "ada@example.com")
        await letters.send()

        assert [mail.recipient for mail in await letters.mails()] == ["Ada <ada@example.com>"]

    async def test_it_is_looked_for_again_also_where_nobody_says_so(self, letters: Letters) -> None:
        await letters.confirmed(UserId.new())
        looks = []
        for _ in range(6):
            await letters.send()
            found = await letters.only()
            looks.append(found["due_at"])
            letters.run.clock.advance(3 * 60)

        assert len(set(looks)) == 6

    async def test_it_does_not_wait_for_ever(self, letters: Letters) -> None:
        await letters.confirmed(UserId.new())
        await letters.send()
        letters.run.clock.advance(3601)

        await letters.send()

        found = await letters.only()
        assert (found["status"], found["failure_reason"], found["due_at"]) == ("failed", "recipient_unknown", None)


class TestDeletedUsers:
    async def test_get_no_mail(self, letters: Letters) -> None:
        ada = await letters.known_user()
        await letters.confirmed(ada)
        await letters.delete(ada)

        await letters.send()

        found = await letters.only()
        assert (found["status"], found["failure_reason"]) == ("failed", "recipient_deleted")
        assert await letters.mails() == []

    async def test_are_forgotten(self, letters: Letters) -> None:
        ada = await letters.known_user(email="ada@example.com")
        letters.fail_with(MailRefused("550 <ada@example.com>: no such user"))
        await letters.confirmed(ada)
        await letters.send()
        assert "ada@example.com" in str(await letters.detail())

        await letters.delete(ada)

        found = await letters.detail()
        assert "ada@example.com" not in str(found)
        assert [each["outcome"] for each in found["attempts"]] == ["refused"]

    async def test_are_not_brought_back_by_what_comes_late(self, letters: Letters) -> None:
        ada = UserId.new()
        await letters.delete(ada)
        await letters.rename(ada, "Ada", "ada@example.com")
        await letters.confirmed(ada)

        await letters.send()

        assert (await letters.only())["failure_reason"] == "recipient_deleted"
