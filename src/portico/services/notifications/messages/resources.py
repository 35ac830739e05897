"""The sender: hands mails over, as many at a time as the mailer takes."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from portico.kit.data.failures import is_retryable_conflict, is_unavailable
from portico.kit.runtime.context import ServiceRuntime
from portico.kit.telemetry.context import RequestContext, request_context
from portico.kit.telemetry.logs import get_logger
from portico.services.notifications.mail import Address, BadMail, Mail, MailDeferred, Mailer, MailRefused, MailUncertain
from portico.services.notifications.messages.commands import Claimed, claim, record
from portico.services.notifications.messages.domain import Result, SendingRules
from portico.services.notifications.messages.repository import Notifications
from portico.services.notifications.settings import NotificationsSettings
from portico.services.notifications.templates.resources import Templates

logger = get_logger(__name__)

_POLL = 1.0  # seconds: for what another process queued, and for what becomes due again
_MARGIN = 30.0  # seconds beyond the mailer's own limit for which an attempt belongs to this process
_GRACE = 8.0  # seconds that mails which are being handed over get when the process ends
_AGAIN = 0.5  # seconds before what became of a mail is written down again


class Sender:
    """Sends what is due. Several processes may: each notification is taken by one, for as long as an attempt can last.

    Args:
        context: the service.
        mailer: takes the mails.
        templates: write them.
    """

    def __init__(self, context: ServiceRuntime, mailer: Mailer, templates: Templates) -> None:
        self._context = context
        self._mailer = mailer
        self._templates = templates
        self._at_once = context.settings.smtp_connections
        self._lease = mailer.limit + _MARGIN
        self._rules = SendingRules.of(context.settings_of(NotificationsSettings), lease=self._lease)
        self._woken = asyncio.Event()
        self.outcomes: Counter[str] = Counter()

    def wake(self) -> None:
        """Something may be due."""
        self._woken.set()

    async def run(self) -> None:
        """Send what is due, until cancelled; what is being handed over then may end."""
        under_way: set[asyncio.Task[None]] = set()
        try:
            while not self._context.stopping.is_set():
                self._woken.clear()
                free = self._at_once - len(under_way)
                taken, claimed = await self._take(free) if free else (0, [])
                for each in claimed:
                    task = asyncio.create_task(self._send(each), name=f"mail {each.mail_id}")
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                    task.add_done_callback(self._ended)
                if not taken:
                    await self._rest()
        finally:
            await _end(under_way)

    async def send_due(self) -> int:
        """Do what is to be done now, some at a time; for how many notifications it was."""
        taken, claimed = await self._claim(self._at_once)
        await asyncio.gather(*map(self._send, claimed))
        return taken

    async def _claim(self, limit: int) -> tuple[int, Sequence[Claimed]]:
        """How many notifications something was done about, and which of them are to be handed over."""
        async with self._context.reader() as reader:
            due = await Notifications(reader).due(reader.now, limit)
        if not due:
            return 0, []
        async with self._context.transaction() as work:
            return await claim(work, due, self._rules)

    async def _take(self, limit: int) -> tuple[int, Sequence[Claimed]]:
        try:
            return await self._claim(limit)
        except Exception as error:
            if not (is_unavailable(error) or is_retryable_conflict(error)):
                logger.exception("sending_failed", service=self._context.name)
            return 0, []

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("mail_not_recorded", mail=task.get_name(), exc_info=error)
        self.wake()  # there is room for another

    async def _rest(self) -> None:
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._woken, self._context.stopping)]
        try:
            await asyncio.wait(waiting, timeout=_POLL, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    async def _send(self, claimed: Claimed) -> None:
        until = asyncio.get_running_loop().time() + self._lease
        span = self._context.tracing.begin("send_mail", parent=claimed.trace)
        request_context.set(RequestContext(self._context.name, trace=span.context))
        error: str | None = "cut_off"
        try:
            result = await self._result(claimed)
            error = None if result.outcome == "delivered" else result.outcome
        finally:
            span.end(error=error)
        self.outcomes[result.outcome] += 1
        # What was answered is kept as evidence, and not logged: servers like to repeat the address in it.
        logger.info(
            "mail_attempted",
            notification_id=claimed.notification_id,
            attempt=claimed.number,
            outcome=result.outcome,
        )
        await self._record(claimed, result, until)

    async def _result(self, claimed: Claimed) -> Result:
        try:
            return Result("delivered", await self._mailer.send(await self._written(claimed)))
        except MailDeferred as failed:
            return Result("deferred", failed.answer)
        except MailRefused as failed:
            return Result("refused", failed.answer)
        except MailUncertain as failed:
            return Result("uncertain", failed.answer)
        except BadMail as bad:
            return Result("unsendable", str(bad))
        except Exception as error:
            logger.exception("mail_failed", notification_id=claimed.notification_id)
            return Result("deferred", f"an error of this service, which its logs tell of ({type(error).__name__})")

    async def _written(self, claimed: Claimed) -> Mail:
        template = self._templates.find(claimed.template, claimed.template_version)
        written = await self._templates.render(template, claimed.data, name=claimed.name)
        return Mail(
            mail_id=claimed.mail_id,
            to=Address(claimed.email, claimed.name),
            subject=written.subject,
            text=written.text,
            html=written.html,
            written_at=claimed.written_at,
        )

    async def _record(self, claimed: Claimed, result: Result, until: float) -> None:
        """Write down what became of a mail: while the lease lasts nobody sends it again, and a mail sent twice is worse."""
        while True:
            try:
                async with self._context.transaction() as work:
                    await record(work, claimed, result, self._rules, jitter=random.uniform(0.8, 1))  # noqa: S311  # so that not all come at once
            except Exception as error:
                passes = is_unavailable(error) or is_retryable_conflict(error)
                if not passes or asyncio.get_running_loop().time() > until:
                    raise
                await asyncio.sleep(_AGAIN)
            else:
                return


async def _end(under_way: Collection[asyncio.Task[None]]) -> None:
    """Let what is being handed over end; what takes too long is another process's once its lease has run out."""
    if under_way:
        _, late = await asyncio.wait(set(under_way), timeout=_GRACE)
        for each in late:
            each.cancel()


@asynccontextmanager
async def open_sender(context: ServiceRuntime) -> AsyncIterator[Sender]:
    """The sender of the service."""
    mailer = context.resource(Mailer)  # type: ignore[type-abstract]  # what is declared is the interface
    sender = Sender(context, mailer, context.resource(Templates))
    context.metrics.counter(
        "portico_mails", "Attempts to send a mail, by outcome", lambda: dict(sender.outcomes), label="outcome"
    )
    yield sender


async def send_what_is_due(context: ServiceRuntime) -> None:
    """Send mails as long as the service runs."""
    await context.resource(Sender).run()
