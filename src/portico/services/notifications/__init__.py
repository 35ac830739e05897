"""Notifications: who is told of what, by mail."""

from starlette.types import ASGIApp

from portico.contracts.verifying import verifier_of
from portico.kit.runtime.service import Service
from portico.kit.runtime.standalone import standalone
from portico.services.notifications import consumers
from portico.services.notifications.mail import Mailer
from portico.services.notifications.mail.opening import open_mail
from portico.services.notifications.mailbox import endpoints as mailbox
from portico.services.notifications.messages import endpoints as messages
from portico.services.notifications.messages import jobs
from portico.services.notifications.messages.models import Table
from portico.services.notifications.messages.resources import Sender, open_sender, send_what_is_due
from portico.services.notifications.settings import NotificationsSettings
from portico.services.notifications.templates import endpoints as templates
from portico.services.notifications.templates.resources import Templates, open_templates

service = Service(
    name="notifications",
    summary="Who is told of what, by mail",
    module=__name__,
    routers=[messages.router, templates.router, mailbox.router],
    consumers=[
        consumers.keep_recipient,
        consumers.forget_recipient_when_user_deleted,
        consumers.queue_mail_about_order,
    ],
    jobs=[jobs.forget_old_notifications],
    background=[send_what_is_due],
    tables=Table.metadata,
    settings=NotificationsSettings,
    resources={Mailer: open_mail, Templates: open_templates, Sender: open_sender},
    calls=["identity"],
)


def app() -> ASGIApp:
    """Notifications as an ordinary ASGI application: `uvicorn --factory portico.services.notifications:app`."""
    return standalone(service, verifier_of=verifier_of)
