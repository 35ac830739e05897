import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from email.message import EmailMessage
from typing import Any

import pytest
from tests.contracts.mail import SENDER, MailerContract, mail
from tests.support.smtp import HOST, Certificate, MailServer, serving_mail

from portico.services.notifications.mail.base import Address, MailDeferred, Mailer, MailRefused, MailUncertain
from portico.services.notifications.mail.smtp import SmtpMailer, SmtpServer


def mailer_to(server: MailServer, *, limit: float = 20, tls: Any = None, **members: Any) -> SmtpMailer:
    address = SmtpServer(**{"host": HOST, "port": server.port, "security": "none"} | members)
    return SmtpMailer(address, SENDER, limit=limit, connections=4, tls=tls)


@pytest.fixture
def server() -> Iterator[MailServer]:
    with serving_mail() as server:
        yield server


@pytest.fixture
async def mailer(server: MailServer) -> AsyncIterator[SmtpMailer]:
    mailer = mailer_to(server)
    yield mailer
    await mailer.aclose()


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return Certificate()


class TestSmtpMailer(MailerContract):
    @pytest.fixture(autouse=True)
    def _remember(self, server: MailServer) -> None:
        self.server = server

    async def delivered(self, mailer: Mailer) -> Sequence[EmailMessage]:
        return [each.message for each in self.server.received]

    async def test_the_envelope_names_one_recipient(self, mailer: SmtpMailer, server: MailServer) -> None:
        await mailer.send(mail())

        assert [(each.sender, each.recipients) for each in server.received] == [
            ("shop@shop.example", ("ada@example.com",))
        ]

    async def test_the_response_of_the_server_is_returned(self, mailer: SmtpMailer, server: MailServer) -> None:
        server.replies["DATA"] = "250 2.0.0 queued as 4F1"

        assert await mailer.send(mail()) == "250 2.0.0 queued as 4F1"


class TestConnections:
    async def test_are_reused(self, mailer: SmtpMailer, server: MailServer) -> None:
        for _ in range(5):
            await mailer.send(mail())

        assert server.connections == 1

    async def test_are_limited(self, mailer: SmtpMailer, server: MailServer) -> None:
        await asyncio.gather(*(mailer.send(mail()) for _ in range(20)))

        assert server.connections <= 4

    async def test_a_connection_closed_by_the_server_loses_no_mail(
        self, mailer: SmtpMailer, server: MailServer
    ) -> None:
        await mailer.send(mail())
        (client, _), *_ = mailer._idle
        client.close()

        await mailer.send(mail())

        assert len(server.received) == 2

    async def test_a_connection_is_not_reused_after_a_failure(self, mailer: SmtpMailer, server: MailServer) -> None:
        server.replies["RCPT"] = "550 no such user"
        with pytest.raises(MailRefused):
            await mailer.send(mail())
        server.replies.clear()

        await mailer.send(mail())

        assert server.connections == 2


class TestFailures:
    @pytest.mark.parametrize("stage", ["RCPT", "DATA"])
    async def test_a_permanent_error_refuses_the_mail(self, mailer: SmtpMailer, server: MailServer, stage: Any) -> None:
        server.replies[stage] = "550 5.1.1 no such user"

        with pytest.raises(MailRefused) as caught:
            await mailer.send(mail())

        assert caught.value.answer == "550 5.1.1 no such user"

    @pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
    async def test_a_temporary_error_defers_the_mail(self, mailer: SmtpMailer, server: MailServer, stage: Any) -> None:
        server.replies[stage] = "451 4.7.1 greylisted, try again later"

        with pytest.raises(MailDeferred, match="greylisted"):
            await mailer.send(mail())

    async def test_a_refused_sender_defers_the_mail(self, mailer: SmtpMailer, server: MailServer) -> None:
        server.replies["MAIL"] = "550 5.7.1 this account may not send as shop"

        with pytest.raises(MailDeferred, match="may not send"):
            await mailer.send(mail())

    async def test_an_unreachable_server_defers_the_mail(self, server: MailServer) -> None:
        mailer = mailer_to(server, port=1)

        with pytest.raises(MailDeferred):
            await mailer.send(mail())
        with pytest.raises(MailDeferred):
            await mailer.check()

    async def test_a_connection_lost_after_the_content_is_uncertain(
        self, mailer: SmtpMailer, server: MailServer
    ) -> None:
        server.vanish.add("DATA")

        with pytest.raises(MailUncertain):
            await mailer.send(mail())

        assert len(server.received) == 1  # it was taken: that is why nothing else may be said

    async def test_a_connection_lost_before_the_content_defers_the_mail(
        self, mailer: SmtpMailer, server: MailServer
    ) -> None:
        server.vanish.add("RCPT")

        with pytest.raises(MailDeferred):
            await mailer.send(mail())

    async def test_a_server_that_does_not_respond_times_out(self, server: MailServer) -> None:
        server.hang.add("RCPT")
        mailer = mailer_to(server, limit=0.2)

        with pytest.raises(MailDeferred, match="the server did not answer in time"):
            await mailer.send(mail())

    async def test_a_time_out_after_the_content_is_uncertain(self, server: MailServer) -> None:
        server.hang.add("DATA")
        mailer = mailer_to(server, limit=0.2)

        with pytest.raises(MailUncertain):
            await mailer.send(mail())

    async def test_a_server_without_smtputf8_refuses_other_addresses(
        self, mailer: SmtpMailer, server: MailServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = await mailer._connected()
        mailer._idle.append((client, asyncio.get_running_loop().time() + 60))
        client.esmtp_extensions.pop("smtputf8")

        with pytest.raises(MailRefused, match="SMTPUTF8"):
            await mailer.send(mail(to=Address("größe@example.com")))


class TestTls:
    @pytest.mark.parametrize("security", ["starttls", "tls"])
    async def test_encrypts_the_mail(self, certificate: Certificate, security: Any) -> None:
        with serving_mail(tls=security, certificate=certificate) as server:
            mailer = mailer_to(server, security=security, tls=certificate.for_client())
            await mailer.send(mail())
            await mailer.send(mail())
            await mailer.aclose()

            assert len(server.received) == 2

    @pytest.mark.parametrize("security", ["starttls", "tls"])
    async def test_rejects_an_untrusted_certificate(self, certificate: Certificate, security: Any) -> None:
        with serving_mail(tls=security, certificate=certificate) as server:
            mailer = mailer_to(server, security=security)

            with pytest.raises(MailDeferred, match="certificate"):
                await mailer.send(mail())
            assert server.received == []

    async def test_sends_nothing_if_required_starttls_is_not_offered(
        self, server: MailServer, certificate: Certificate
    ) -> None:
        mailer = mailer_to(server, security="starttls", tls=certificate.for_client())

        with pytest.raises(MailDeferred, match="STARTTLS"):
            await mailer.send(mail())
        assert server.received == []


class TestAuthentication:
    async def test_accepts_the_password(self, certificate: Certificate) -> None:
        with serving_mail(tls="starttls", account=("shop", "p:@/ß w"), certificate=certificate) as server:
            mailer = mailer_to(
                server, security="starttls", tls=certificate.for_client(), username="shop", password="p:@/ß w"
            )
            await mailer.check()
            await mailer.send(mail())
            await mailer.aclose()

            assert len(server.received) == 1

    async def test_a_wrong_password_defers_the_mail_and_is_not_logged(self, certificate: Certificate) -> None:
        with serving_mail(tls="starttls", account=("shop", "right"), certificate=certificate) as server:
            mailer = mailer_to(
                server, security="starttls", tls=certificate.for_client(), username="shop", password="wr0ng-one"
            )

            with pytest.raises(MailDeferred, match="535") as caught:
                await mailer.send(mail())

            assert "wr0ng-one" not in f"{caught.value!r} {mailer.server!r}"
            with pytest.raises(MailDeferred, match="535"):
                await mailer.check()
