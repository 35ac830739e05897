"""Notifications: mails to users about their orders, bookings and accounts."""

from portico.kit import Service
from portico.services.notifications import api, consumers, jobs
from portico.services.notifications.mail import Mailer
from portico.services.notifications.mail.factory import open_mailer
from portico.services.notifications.models import Table
from portico.services.notifications.sender import Sender, open_sender, run_sender
from portico.services.notifications.settings import NotificationsSettings
from portico.services.notifications.templates import Templates, open_templates

service = Service(
    name="notifications",
    summary="Mails to users about their orders, bookings and accounts",
    module=__name__,
    routers=[api.notifications_router, api.templates_router, api.mailbox_router],
    consumers=[
        consumers.save_recipient,
        consumers.forget_recipient,
        consumers.queue_order_mail,
        consumers.queue_account_mail,
        consumers.save_show,
        consumers.forget_show,
        consumers.queue_booking_mail,
        consumers.queue_holder_mail,
        consumers.queue_offer_mail,
        consumers.queue_transfer_mail,
    ],
    jobs=[jobs.delete_old_notifications],
    background=[run_sender],
    tables=Table.metadata,
    settings=NotificationsSettings,
    resources={Mailer: open_mailer, Templates: open_templates, Sender: open_sender},
    calls=["identity"],
)
