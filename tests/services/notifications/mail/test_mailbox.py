import os
import stat
from collections.abc import Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from tests.contracts.mail import SENDER, MailerContract, mail

from portico.kit.data import InvalidCursor, Window
from portico.services.notifications.mail.base import MailDeferred, Mailer, MailId
from portico.services.notifications.mail.mailbox import Mailbox
from portico.testing.clock import START, ManualClock


def open_mailbox(folder: Path, keep: int = 100) -> Mailbox:
    return Mailbox(folder / "mailbox", SENDER, keep=keep, clock=ManualClock())


class TestMailbox(MailerContract):
    @pytest.fixture
    def mailer(self, tmp_path: Path) -> Mailbox:
        return open_mailbox(tmp_path)

    async def delivered(self, mailer: Mailer) -> Sequence[EmailMessage]:
        assert isinstance(mailer, Mailbox)
        files = sorted(mailer.folder.glob("*.eml"))
        return [message_from_bytes(path.read_bytes(), policy=policy.default) for path in files]

    async def test_a_mail_that_is_sent_twice_is_stored_once(self, mailer: Mailbox) -> None:
        sent = mail()

        await mailer.send(sent)
        await mailer.send(sent)

        assert (await mailer.page(Window())).total == 1

    async def test_another_process_reads_a_stored_mail(self, mailer: Mailbox, tmp_path: Path) -> None:
        sent = mail(text="One\nTwo\n", html="<b>Two</b>\n")
        await mailer.send(sent)

        found = await open_mailbox(tmp_path).find(sent.mail_id)

        assert found is not None
        assert (found.subject, found.sender) == ("Your order", "The Shop <shop@shop.example>")
        assert (found.recipient, found.received_at) == ("Ada Lovelace <ada@example.com>", START)
        assert (found.text, found.html) == ("One\nTwo\n", "<b>Two</b>\n")
        assert found.size == (mailer.folder / f"{sent.mail_id}.eml").stat().st_size

    async def test_an_unknown_mail_is_none(self, mailer: Mailbox) -> None:
        assert await mailer.find(MailId.new()) is None

    async def test_files_are_readable_by_the_owner_only(self, mailer: Mailbox) -> None:
        await mailer.send(mail())

        paths = [mailer.folder, *mailer.folder.iterdir()]
        assert [stat.S_IMODE(path.stat().st_mode) & 0o077 for path in paths] == [0, 0]

    async def test_the_oldest_mails_are_deleted_first(self, tmp_path: Path) -> None:
        mailbox = open_mailbox(tmp_path, keep=2)
        sent = [mail() for _ in range(4)]
        for each in sent:
            await mailbox.send(each)

        found = await mailbox.page(Window())
        assert [each.mail_id for each in found.rows] == [sent[3].mail_id, sent[2].mail_id]

    async def test_the_directory_is_not_listed_for_each_mail(self, tmp_path: Path) -> None:
        class Counted(Mailbox):
            listings = 0

            def _names(self) -> list[MailId]:
                self.listings += 1
                return super()._names()

        mailbox = Counted(tmp_path / "mailbox", SENDER, keep=200, clock=ManualClock())
        for _ in range(9):
            await mailbox.send(mail())

        assert mailbox.listings == 3

    async def test_the_limit_is_exceeded_by_at_most_one_percent(self, tmp_path: Path) -> None:
        mailbox = open_mailbox(tmp_path, keep=100)
        for _ in range(110):
            await mailbox.send(mail())

        assert 100 <= (await mailbox.page(Window())).total <= 101

    async def test_other_files_are_ignored(self, mailer: Mailbox) -> None:
        await mailer.send(mail())
        for name in ("notes.txt", "my.eml", ".mail_01.draft"):
            (mailer.folder / name).write_text("x")

        assert len((await mailer.page(Window())).rows) == 1

    async def test_a_damaged_file_is_decoded_as_far_as_possible(self, mailer: Mailbox) -> None:
        await mailer.send(mail())
        damaged = MailId.new()
        (mailer.folder / f"{damaged}.eml").write_bytes(
            b"Subject: =?no-such-charset?q?x?=\r\nContent-Type: text/html; charset=none\r\n\r\n\xff\xfe"
        )

        found = await mailer.find(damaged)

        assert found is not None
        assert (found.html, found.text) == ("\ufffd\ufffd", "")

    async def test_an_unwritable_directory_defers(self, tmp_path: Path) -> None:
        (tmp_path / "mailbox").write_text("a file in its place")
        mailbox = open_mailbox(tmp_path)

        with pytest.raises(MailDeferred, match="is not writable"):
            await mailbox.send(mail())
        with pytest.raises(MailDeferred, match="is not writable"):
            await mailbox.check()

    async def test_an_incomplete_file_is_ignored(self, mailer: Mailbox) -> None:
        await mailer.check()
        descriptor = os.open(mailer.folder / f".{MailId.new()}.abc", os.O_CREAT | os.O_WRONLY, 0o600)
        os.close(descriptor)

        assert (await mailer.page(Window())).rows == []


class TestPages:
    @pytest.fixture
    async def mailbox(self, tmp_path: Path) -> Mailbox:
        mailbox = open_mailbox(tmp_path)
        for number in range(5):
            await mailbox.send(mail(subject=f"Order {number}"))
        return mailbox

    async def subjects(self, mailbox: Mailbox, window: Window) -> list[str]:
        return [each.subject for each in (await mailbox.page(window)).rows]

    async def test_contain_every_mail_once(self, mailbox: Mailbox) -> None:
        first = await mailbox.page(Window(limit=2))
        second = await mailbox.page(Window(limit=2, cursor=first.next))
        third = await mailbox.page(Window(limit=2, cursor=second.next))

        found = [[each.subject for each in page.rows] for page in (first, second, third)]
        assert found == [["Order 4", "Order 3"], ["Order 2", "Order 1"], ["Order 0"]]
        assert (first.total, first.previous, third.next) == (5, None, None)

    async def test_link_back(self, mailbox: Mailbox) -> None:
        first = await mailbox.page(Window(limit=2))
        second = await mailbox.page(Window(limit=2, cursor=first.next))

        back = await mailbox.page(Window(limit=2, cursor=second.previous))

        assert [each.subject for each in back.rows] == ["Order 4", "Order 3"]
        assert (back.next, back.previous) == (first.next, None)

    async def test_are_stable_when_mail_arrives(self, mailbox: Mailbox) -> None:
        first = await mailbox.page(Window(limit=2))
        await mailbox.send(mail(subject="Order 5"))

        assert await self.subjects(mailbox, Window(limit=2, cursor=first.next)) == ["Order 2", "Order 1"]

    async def test_can_be_reached_by_skip(self, mailbox: Mailbox) -> None:
        assert await self.subjects(mailbox, Window(skip=3, limit=10)) == ["Order 1", "Order 0"]
        assert await self.subjects(mailbox, Window(skip=9)) == []

    @pytest.mark.parametrize("cursor", ["x", "", "-", "mail_", "../../etc/passwd"])
    async def test_reject_an_invalid_cursor(self, mailbox: Mailbox, cursor: str) -> None:
        with pytest.raises(InvalidCursor):
            await mailbox.page(Window(cursor=cursor))
