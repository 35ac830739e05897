from portico.contracts.notifications import NotificationId
from portico.kit import Conflict, NotFound, Unprocessable
from portico.services.notifications.mail import MailId


class NotificationNotFound(NotFound):
    detail = "Notification {notification_id} not found."

    notification_id: NotificationId


class NotificationNotFailed(Conflict):
    code = "not_failed"  # stable in the API
    detail = "Notification {notification_id} is '{state}'. Only a failed notification can be retried."

    notification_id: NotificationId
    state: str


class TemplateNotFound(NotFound):
    detail = "Template '{name}' not found. Available templates: {known}."

    name: str
    known: str


class TemplateVersionNotFound(NotFound):
    detail = "Template '{name}' has no version {version}. Its newest version is {newest}."

    name: str
    version: int
    newest: int


class TemplateDataInvalid(Unprocessable):
    detail = "Template '{name}' cannot be rendered with this data: {reason}."
    location = ("body", "data")

    name: str
    reason: str


class NoEmbeddedMailbox(Conflict):
    detail = (
        "Mail is sent by SMTP here, so there is no mailbox to read. GET /notifications shows the state of each mail."
    )


class MailNotFound(NotFound):
    detail = "Mail {mail_id} is not in the mailbox."

    mail_id: MailId
