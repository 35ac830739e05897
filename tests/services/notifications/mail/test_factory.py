from pathlib import Path

import pytest

from portico.kit.settings import SettingsError, check_server_passwords, read_settings
from portico.services.notifications.mail.factory import mailer_for
from portico.services.notifications.mail.mailbox import Mailbox
from portico.services.notifications.mail.smtp import SmtpMailer, SmtpServer
from portico.services.notifications.settings import NotificationsSettings


def settings(**variables: str) -> NotificationsSettings:
    return read_settings(NotificationsSettings, environ=variables).value


def server(**variables: str) -> SmtpServer:
    mailer = mailer_for(
        settings(NOTIFICATIONS_MAIL_FROM="Shop <shop@shop.example>", **variables),
        data_dir=Path(),
        sender_name="commerce",
    )
    assert isinstance(mailer, SmtpMailer)
    return mailer.server


class TestEmbedded:
    def test_mail_is_stored_in_a_directory(self, tmp_path: Path) -> None:
        mailer = mailer_for(settings(), data_dir=tmp_path, sender_name="commerce")

        assert isinstance(mailer, Mailbox)
        assert mailer.folder == tmp_path / "mailbox"
        assert (mailer.sender.name, mailer.sender.email) == ("commerce", "no-reply@portico.example")

    def test_the_sender_is_configurable(self) -> None:
        mailer = mailer_for(
            settings(NOTIFICATIONS_MAIL_FROM="shop@shop.example"), data_dir=Path(), sender_name="commerce"
        )

        assert (mailer.sender.name, mailer.sender.email) == ("", "shop@shop.example")


class TestServer:
    def test_requires_starttls(self) -> None:
        assert server(SMTP_URL="smtp://shop:p%40ss@mail.example") == SmtpServer(
            "mail.example", 587, "starttls", "shop", "p@ss"
        )

    def test_on_this_machine_does_not_require_tls(self) -> None:
        assert server(SMTP_URL="smtp://127.0.0.1:1025") == SmtpServer("127.0.0.1", 1025, "none")

    def test_on_this_machine_can_require_starttls(self) -> None:
        assert server(SMTP_URL="smtp://localhost", NOTIFICATIONS_SMTP_STARTTLS="required").security == "starttls"

    def test_supports_implicit_tls(self) -> None:
        assert server(SMTP_URL="smtps://shop:secret@mail.example") == SmtpServer(
            "mail.example", 465, "tls", "shop", "secret"
        )

    def test_can_be_a_relay_without_tls(self) -> None:
        assert server(SMTP_URL="smtp://mailpit:1025", NOTIFICATIONS_SMTP_STARTTLS="never") == SmtpServer(
            "mailpit", 1025, "none"
        )

    def test_repr_hides_the_password(self) -> None:
        assert "hunter22" not in repr(server(SMTP_URL="smtps://shop:hunter22@mail.example"))


class TestInvalidSettings:
    def test_reject_a_password_without_tls(self) -> None:
        with pytest.raises(SettingsError, match="unencrypted"):
            server(SMTP_URL="smtp://shop:secret@mail.example", NOTIFICATIONS_SMTP_STARTTLS="never")

    def test_reject_a_server_without_a_sender(self) -> None:
        with pytest.raises(SettingsError, match="NOTIFICATIONS_MAIL_FROM is not"):
            mailer_for(settings(SMTP_URL="smtps://mail.example"), data_dir=Path(), sender_name="commerce")

    @pytest.mark.parametrize("sender", ["shop", "a@b@c", "Shop <shop@>"])
    def test_reject_a_sender_that_is_no_address(self, sender: str) -> None:
        with pytest.raises(SettingsError, match="NOTIFICATIONS_MAIL_FROM"):
            mailer_for(settings(NOTIFICATIONS_MAIL_FROM=sender), data_dir=Path(), sender_name="commerce")

    @pytest.mark.parametrize("url", ["smtp://", "smtp://:25", "smtp://mail.example:x"])
    def test_reject_an_address_without_host_or_port(self, url: str) -> None:
        with pytest.raises(SettingsError, match="SMTP_URL is invalid"):
            server(SMTP_URL=url)

    def test_reject_another_scheme(self) -> None:
        with pytest.raises(SettingsError, match="SMTP_URL"):
            settings(SMTP_URL="http://mail.example")

    def test_reject_a_well_known_password_for_another_machine(self) -> None:
        with pytest.raises(SettingsError, match="SMTP_URL contains a well-known password"):
            check_server_passwords(settings(SMTP_URL="smtps://shop:password@mail.example"))
