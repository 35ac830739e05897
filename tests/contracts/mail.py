"""Contract of mailers. A subclass provides the mailer and reads the delivered mails."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import pytest

from portico.services.notifications.mail.base import MAX_MAIL_BYTES, Address, BadMail, Mail, Mailer, MailId

SENDER = Address("shop@shop.example", "The Shop")
WRITTEN = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def mail(**members: Any) -> Mail:
    """Return a mail to Ada, changed by `members`."""
    usual: dict[str, Any] = {
        "mail_id": MailId.new(),
        "to": Address("ada@example.com", "Ada Lovelace"),
        "subject": "Your order",
        "text": "It is on its way.\n",
        "html": "<p>It is on its way.</p>\n",
        "written_at": WRITTEN,
    }
    return Mail(**usual | members)


def body(message: EmailMessage, kind: str) -> str:
    """Return the message's text/`kind` part, with \\n line ends."""
    part = message.get_body((kind,))
    assert part is not None
    text: str = part.get_content()
    return text.replace("\r\n", "\n")


class MailerContract(ABC):
    """Subclass it as `TestMyMailer`, with a fixture `mailer` whose sender is SENDER."""

    @abstractmethod
    async def delivered(self, mailer: Mailer) -> Sequence[EmailMessage]:
        """Return the mails delivered so far, in order."""

    async def only(self, mailer: Mailer) -> EmailMessage:
        found = await self.delivered(mailer)
        assert len(found) == 1
        return found[0]

    async def test_it_is_usable(self, mailer: Mailer) -> None:
        await mailer.check()

    async def test_a_mail_arrives_unchanged(self, mailer: Mailer) -> None:
        sent = mail()

        assert await mailer.send(sent)

        found = await self.only(mailer)
        assert found["from"] == "The Shop <shop@shop.example>"
        assert found["to"] == "Ada Lovelace <ada@example.com>"
        assert found["subject"] == "Your order"
        assert found["date"].datetime == WRITTEN
        assert found["message-id"] == f"<{sent.mail_id}@shop.example>"
        assert found["auto-submitted"] == "auto-generated"
        assert body(found, "plain") == sent.text
        assert body(found, "html") == sent.html

    async def test_a_mail_may_be_plain_text_only(self, mailer: Mailer) -> None:
        await mailer.send(mail(html=None))

        found = await self.only(mailer)
        assert found.get_content_type() == "text/plain"

    async def test_every_alphabet_arrives(self, mailer: Mailer) -> None:
        words = "Größe, Übergrösse; Žluťoučký; 注文; Ωμέγα; 🎁"

        await mailer.send(
            mail(to=Address("ada@example.com", words), subject=words, text=words + "\n", html=words + "\n")
        )

        found = await self.only(mailer)
        assert (found["subject"], found["to"].addresses[0].display_name) == (words, words)
        assert (body(found, "plain"), body(found, "html")) == (words + "\n", words + "\n")

    async def test_an_internationalized_domain_is_encoded_in_ascii(self, mailer: Mailer) -> None:
        await mailer.send(mail(to=Address("ada@bücher.example")))

        assert (await self.only(mailer))["to"] == "ada@xn--bcher-kva.example"

    async def test_an_internationalized_local_part_arrives(self, mailer: Mailer) -> None:
        await mailer.send(mail(to=Address("größe@example.com")))

        assert str((await self.only(mailer))["to"]) == "größe@example.com"

    @pytest.mark.parametrize(
        "text", [".\n", "..\nFrom here\n.\n", "x" * 5000 + "\n", "a\n\n\nb\n", "=3D = \t \nend\n", "\n"]
    )
    async def test_text_is_not_mistaken_for_the_protocol(self, mailer: Mailer, text: str) -> None:
        await mailer.send(mail(text=text, html=None))

        assert body(await self.only(mailer), "plain") == text

    @pytest.mark.parametrize("name", ['Ada "the" Countess', "Lovelace, Ada", "<root@example.com>", "a@b, c", "\\"])
    async def test_a_name_is_not_mistaken_for_an_address(self, mailer: Mailer, name: str) -> None:
        await mailer.send(mail(to=Address("ada@example.com", name)))

        found = (await self.only(mailer))["to"].addresses
        assert [(each.display_name, each.addr_spec) for each in found] == [(name, "ada@example.com")]

    @pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\0", "\x0b", "\x85", "\u2028", "\u2029", "\ud800"])
    async def test_headers_cannot_be_injected(self, mailer: Mailer, end: str) -> None:
        slipped = f"Hello{end}Bcc: mallory@example.com"

        with pytest.raises(BadMail):
            mail(subject=slipped)
        with pytest.raises(BadMail):
            Address("ada@example.com", slipped)
        with pytest.raises(BadMail):
            Address(f"ada@example.com{end}Bcc: mallory@example.com")
        assert await self.delivered(mailer) == []

    async def test_the_largest_mail_arrives(self, mailer: Mailer) -> None:
        line = "x" * 63 + "\n"

        await mailer.send(mail(text=line * (MAX_MAIL_BYTES // len(line)), html=None))

        assert len(body(await self.only(mailer), "plain")) == MAX_MAIL_BYTES
        with pytest.raises(BadMail):
            mail(text="x" * MAX_MAIL_BYTES, html="x")

    async def test_a_repeated_mail_has_the_same_message_id(self, mailer: Mailer) -> None:
        sent = mail()

        await mailer.send(sent)
        await mailer.send(sent)

        assert {found["message-id"] for found in await self.delivered(mailer)} == {f"<{sent.mail_id}@shop.example>"}

    async def test_concurrent_mails_all_arrive(self, mailer: Mailer) -> None:
        sent = [mail(subject=f"Order {number}") for number in range(20)]

        await asyncio.gather(*map(mailer.send, sent))

        found = await self.delivered(mailer)
        assert sorted(each["subject"] for each in found) == sorted(each.subject for each in sent)
