from portico.kit.http import Moment, Schema
from portico.services.notifications.mail import MailId


class MailRead(Schema):
    """A mail in the mailbox. `size` is in bytes."""

    mail_id: MailId
    message_id: str
    sender: str
    recipient: str
    subject: str
    size: int
    received_at: Moment


class MailDetail(MailRead):
    """A mail with its bodies."""

    text: str
    html: str | None
