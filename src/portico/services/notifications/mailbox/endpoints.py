from typing import Annotated

from fastapi import Depends

from portico.kit.auth import Principal, permitted
from portico.kit.data import InvalidCursor
from portico.kit.http import Conditions, Page, Router
from portico.kit.runtime.context import Context
from portico.services.notifications.mail import Mailer, MailId
from portico.services.notifications.mail.mailbox import Mailbox
from portico.services.notifications.mailbox.errors import MailboxElsewhere, MailNotFound
from portico.services.notifications.mailbox.schemas import MailDetail, MailRead

router = Router(prefix="/mailbox", tags=["mailbox"])

MayRead = Annotated[Principal, permitted("notifications:read")]


async def _kept_here(context: Context) -> Mailbox:
    """The embedded mailbox. Raises MailboxElsewhere."""
    mailer = context.resource(Mailer)  # type: ignore[type-abstract]  # what is declared is the interface
    if not isinstance(mailer, Mailbox):
        raise MailboxElsewhere
    return mailer


KeptHere = Annotated[Mailbox, Depends(_kept_here)]


@router.get("", errors=[InvalidCursor, MailboxElsewhere])
async def list_mails(caller: MayRead, mailbox: KeptHere, page: Page) -> list[MailRead]:
    """The mails that would have left if there were a mail server, newest first."""
    return page.of(MailRead, await mailbox.page(page.window))


@router.get("/{mail_id}", errors=[MailNotFound, MailboxElsewhere])
async def read_mail(mail_id: MailId, caller: MayRead, mailbox: KeptHere, conditions: Conditions) -> MailDetail:
    """One mail, as who it is for would read it."""
    found = await mailbox.find(mail_id)
    if found is None:
        raise MailNotFound(mail_id=mail_id)
    conditions.tag(found)
    return MailDetail.of(found)
