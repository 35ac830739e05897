from portico.kit.foundation.problems import Conflict, NotFound
from portico.services.notifications.mail import MailId


class MailboxElsewhere(Conflict):
    code = "mailbox_elsewhere"
    detail = (
        "Mail leaves by SMTP here, so there is no mailbox to look into. GET /notifications tells what became of it."
    )


class MailNotFound(NotFound):
    code = "mail_not_found"
    detail = "There is no mail {mail_id} in the mailbox."

    mail_id: MailId
