"""The sender claims due mails, sends them and stores the outcome."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

from portico.contracts.identity import MailedTokenSeal
from portico.kit import ServiceContext, UnitOfWork, get_logger
from portico.kit.auth import SealBroken
from portico.kit.data import GroupCommit, RetryPolicy, is_transient, retry_transaction, run_transaction
from portico.kit.foundation import Backoff
from portico.kit.telemetry import RequestContext, request_context
from portico.services.notifications.domain import Result, SendingRules
from portico.services.notifications.mail import Address, BadMail, Mail, MailDeferred, Mailer, MailRefused, MailUncertain
from portico.services.notifications.repository import Notifications
from portico.services.notifications.service import ClaimedMail, claim_due, record_deliveries, record_failure
from portico.services.notifications.settings import NotificationsSettings
from portico.services.notifications.templates import SealedAccountMail, Templates
from portico.services.notifications.ticketing_data import OfferMail

logger = get_logger(__name__)

_POLL = Backoff(base=1.0, limit=5.0, jitter=0.2)  # for mails of other processes, and for retries
_MARGIN = 30.0  # seconds that the lease of an attempt exceeds the mailer's own limit
_GRACE = 8.0  # seconds that mails in progress may take when the process stops
_YIELD = 0.05  # seconds that due mails wait for requests of this process, each time some are claimed
_MAX_RECORDED = 100  # deliveries in one transaction
_MAX_WAITING = 1000  # more than mails can be in progress
_TOGETHER = 0.01  # seconds between claims while mails are in progress, so that those that end are replaced together
_RECORD_BACKOFF = Backoff(base=0.5, limit=0.5)


class Sender:
    """Sends due mails. Several processes may run one: a lease gives each mail to one process at a time.

    Args:
        context: the service.
        mailer: sends the mails.
        templates: renders them.
        deliveries: stores that mails were delivered, those of one moment in one transaction.
    """

    def __init__(
        self,
        context: ServiceContext,
        mailer: Mailer,
        templates: Templates,
        deliveries: GroupCommit[tuple[ClaimedMail, Result], None],
    ) -> None:
        self._context = context
        self._mailer = mailer
        self._templates = templates
        self._deliveries = deliveries
        self._concurrency = mailer.concurrency
        self._lease = mailer.limit + _MARGIN
        settings = context.settings_of(NotificationsSettings)
        self._rules = SendingRules.of(settings, lease=self._lease)
        self._pages = {
            "password-reset": settings.password_reset_url,
            "email-verification": settings.email_verification_url,
        }
        self._seal = MailedTokenSeal(context.secrets.service_secret.get_secret_value())
        self._wakeup = asyncio.Event()
        self.outcomes: Counter[str] = Counter()

    def wake(self) -> None:
        """Check for due mails now."""
        self._wakeup.set()

    async def run(self) -> None:
        """Send due mails until the service stops or this is cancelled; mails in progress may finish.

        Requests of this process go first: while it serves some, mails are claimed at most every `_YIELD` seconds.
        """
        in_progress: set[asyncio.Task[None]] = set()
        idle = 0
        try:
            while not self._context.stopping.is_set():
                await self._context.foreground.wait_until_quiet(_YIELD)
                if in_progress:
                    await asyncio.sleep(_TOGETHER)
                self._wakeup.clear()
                free = self._concurrency - len(in_progress)
                changed, claimed = await self._take(free) if free else (0, [])
                for each in claimed:
                    task = asyncio.create_task(self._send(each), name=f"mail {each.mail_id}")
                    in_progress.add(task)
                    task.add_done_callback(in_progress.discard)
                    task.add_done_callback(self._ended)
                idle = 0 if changed else idle + 1
                if not changed and await self._rest(_POLL.delay(idle)):
                    idle = 0
        finally:
            await _end(in_progress)

    async def send_due(self) -> int:
        """Process one batch of due notifications. Return how many were changed."""
        changed, claimed = await self._claim(self._concurrency)
        await asyncio.gather(*map(self._send, claimed))
        return changed

    async def _claim(self, limit: int) -> tuple[int, Sequence[ClaimedMail]]:
        """Claim due mails. Return how many notifications were changed, and the mails to send."""
        async with self._context.reader() as reader:
            due = await Notifications(reader).due(reader.now, limit, max_wait=self._rules.max_wait)
        if not due:
            return 0, []
        async with self._context.transaction() as work:
            return await claim_due(work, due, self._rules)

    async def _take(self, limit: int) -> tuple[int, Sequence[ClaimedMail]]:
        try:
            return await self._claim(limit)
        except Exception as error:
            if not is_transient(error):
                logger.exception("mail_claim_failed", service=self._context.name)
            return 0, []

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("mail_not_recorded", mail=task.get_name(), exc_info=error)
        self.wake()  # a slot is free

    async def _rest(self, seconds: float) -> bool:
        """Wait until woken or stopped, but at most `seconds`. Return whether it was woken."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._wakeup, self._context.stopping)]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        return self._wakeup.is_set()

    async def _send(self, claimed: ClaimedMail) -> None:
        until = asyncio.get_running_loop().time() + self._lease
        span = self._context.tracing.begin("send_mail", parent=claimed.trace)
        request_context.set(RequestContext(self._context.name, trace=span.context))
        error: str | None = "aborted"
        try:
            result = await self._result(claimed)
            error = None if result.outcome == "delivered" else result.outcome
        finally:
            span.end(error=error)
        self.outcomes[result.outcome] += 1
        # The answer is stored but not logged, because servers often repeat the address in it.
        logger.info(
            "mail_attempted",
            notification_id=claimed.notification_id,
            attempt=claimed.number,
            outcome=result.outcome,
        )
        await self._record(claimed, result, until)

    async def _result(self, claimed: ClaimedMail) -> Result:
        try:
            return Result("delivered", await self._mailer.send(await self._rendered(claimed)))
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
            return Result("deferred", f"internal error ({type(error).__name__}); see the logs of notifications")

    async def _rendered(self, claimed: ClaimedMail) -> Mail:
        template = self._templates.find(claimed.template, claimed.template_version)
        data = self._opened(claimed) if template.is_confidential else claimed.data
        if issubclass(template.data, OfferMail):
            self._ensure_open(data)
        rendered = await self._templates.render(template, data, name=claimed.name)
        return Mail(
            mail_id=claimed.mail_id,
            to=Address(claimed.email, claimed.name),
            subject=rendered.subject,
            text=rendered.text,
            html=rendered.html,
            written_at=claimed.written_at,
            is_confidential=template.is_confidential,
        )

    def _ensure_open(self, data: dict[str, Any]) -> None:
        """Raise BadMail if the offer that a mail is about has expired."""
        if OfferMail.model_validate(data).expires_at <= self._context.clock.now():
            raise BadMail("the offer has expired")

    def _opened(self, claimed: ClaimedMail) -> dict[str, Any]:
        """Return the data of a mail with a token. Raises BadMail if the token expired or cannot be decrypted."""
        stored = SealedAccountMail.model_validate(claimed.data)
        if stored.expires_at <= self._context.clock.now():
            raise BadMail("the token has expired")
        if claimed.user_id is None:
            raise BadMail("a mail with a token goes to a user")
        try:
            token = self._seal.open(stored.sealed_token, claimed.user_id)
        except SealBroken as error:
            raise BadMail("the token cannot be decrypted with this SERVICE_SECRET") from error
        page = self._pages[claimed.template]
        link = None if page is None else page.replace("{token}", token)
        return {"token": token, "link": link, "expires_at": stored.expires_at}

    async def _record(self, claimed: ClaimedMail, result: Result, until: float) -> None:
        """Store the outcome, and retry while the lease lasts: an outcome that is not stored means a duplicate mail."""
        jitter = random.uniform(0.8, 1)  # noqa: S311  # spreads retries that failed together
        within = until - asyncio.get_running_loop().time()
        policy = RetryPolicy(tries=None, within=within, is_retryable=is_transient, backoff=_RECORD_BACKOFF)
        if result.outcome == "delivered":
            await retry_transaction(lambda: self._deliveries.submit((claimed, result)), policy)
            return
        await run_transaction(
            self._context.transaction,
            lambda work: record_failure(work, claimed, result, self._rules, jitter=jitter),
            policy,
        )


async def _end(in_progress: Collection[asyncio.Task[None]]) -> None:
    """Wait for mails in progress. One that takes too long is sent by another process after its lease has expired."""
    if in_progress:
        _, late = await asyncio.wait(set(in_progress), timeout=_GRACE)
        for each in late:
            each.cancel()


@asynccontextmanager
async def open_sender(context: ServiceContext) -> AsyncIterator[Sender]:
    """Open the sender of the service."""
    mailer = context.resource(Mailer)  # type: ignore[type-abstract]  # the declared type is the interface
    async with open_deliveries(context) as deliveries:
        sender = Sender(context, mailer, context.resource(Templates), deliveries)
        context.metrics.counter(
            "portico_mails", "Attempts to send a mail, by outcome", lambda: dict(sender.outcomes), label="outcome"
        )
        yield sender


def open_deliveries(context: ServiceContext) -> GroupCommit[tuple[ClaimedMail, Result], None]:
    """Return a group commit that stores delivered mails."""

    async def record(work: UnitOfWork, deliveries: Sequence[tuple[ClaimedMail, Result]]) -> Sequence[None]:
        await record_deliveries(work, deliveries)
        return [None] * len(deliveries)

    return GroupCommit(context.transaction, record, max_batch=_MAX_RECORDED, max_waiting=_MAX_WAITING)


async def run_sender(context: ServiceContext) -> None:
    """Send mails while the service runs."""
    await context.resource(Sender).run()
