from portico.kit.mail import MailId
from portico.kit.problems import Conflict, NotFound


class MailboxElsewhere(Conflict):
    code = "mailbox_elsewhere"
    detail = (
        "Mail leaves by SMTP here, so there is no mailbox to look into. GET /notifications tells what became of it."
    )


class MailNotFound(NotFound):
    code = "mail_not_found"
    detail = "There is no mail {mail_id} in the mailbox."

    mail_id: MailId
