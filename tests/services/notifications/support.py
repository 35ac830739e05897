"""The notifications service under test, with users, orders and a mailbox that can fail."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from portico.contracts.catalog import ProductId
from portico.contracts.identity import UserCreated, UserDeleted, UserUpdated
from portico.contracts.orders import OrderCancelled, OrderedItem, OrderId, OrderUpdated
from portico.kit.auth.principal import UserId
from portico.kit.data import Window
from portico.services.notifications import service
from portico.services.notifications.mail import Mail, Mailer, MailFailed
from portico.services.notifications.mail.mailbox import Mailbox, StoredMail
from portico.services.notifications.sender import Sender
from portico.testing.clock import ManualClock
from portico.testing.databases import Databases
from portico.testing.running_service import Caller, RunningService, run_service

_numbers = itertools.count(1)


class FaultyMailer:
    """A mailbox that raises `failures` in order and then works. The first mail waits for `gate` if it is set."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.limit = mailbox.limit
        self.concurrency = mailbox.concurrency
        self.failures: list[Exception] = []
        self.attempted: list[Mail] = []
        self.gate: asyncio.Event | None = None
        self.waiting = asyncio.Event()
        self._stored = asyncio.Condition()

    async def send(self, mail: Mail) -> str:
        self.attempted.append(mail)
        if self.gate is not None and not self.waiting.is_set():
            self.waiting.set()
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        answer = await self.mailbox.send(mail)
        async with self._stored:
            self._stored.notify_all()
        return answer

    async def wait_for_mails(self, count: int) -> list[StoredMail]:
        """Wait until there are `count` mails, and return them, oldest first."""
        async with self._stored:
            while len(found := (await self.mailbox.page(Window(limit=1000))).rows) < count:
                await self._stored.wait()
        return list(reversed(found))


@dataclass(frozen=True)
class NotificationsService:
    """The notifications service under test. `send_due` sends mails; nothing else does."""

    run: RunningService
    mailer: FaultyMailer

    @property
    def staff(self) -> Caller:
        return self.run.as_user("notifications:read", "notifications:write")

    @property
    def sender(self) -> Sender:
        return self.run.context.resource(Sender)

    def fail_with(self, *failures: MailFailed | Exception) -> None:
        """Make the next attempts to send a mail fail."""
        self.mailer.failures.extend(failures)

    async def create_user(self, name: str = "Ada Lovelace", email: str | None = None) -> UserId:
        """Create a user whose address notifications knows."""
        user_id = UserId.new()
        address = email or f"user{next(_numbers)}@example.com"
        await self.run.receives(UserCreated(user_id=user_id, email=address, name=name))
        return user_id

    async def rename(self, user_id: UserId, name: str, email: str) -> None:
        await self.run.receives(UserUpdated(user_id=user_id, email=email, name=name, is_active=True))

    async def delete(self, user_id: UserId) -> None:
        await self.run.receives(UserDeleted(user_id=user_id))

    async def confirm_order(self, user_id: UserId, **members: Any) -> OrderId:
        """Deliver the event that an order of the user was confirmed, and return the order's id."""
        event = order_event(user_id, **{"status": "confirmed"} | members)
        await self.run.receives(event)
        return event.order_id

    async def send_due(self) -> int:
        """Send all due mails and return the number of rounds."""
        rounds = 0
        while await self.sender.send_due():
            rounds += 1
        return rounds

    async def mails(self) -> list[StoredMail]:
        """Return the stored mails, oldest first."""
        return await self.mailer.wait_for_mails(0)

    async def list_notifications(self, **filters: Any) -> list[dict[str, Any]]:
        """List notifications as staff, newest first."""
        answer = await self.staff.get("/notifications", params=filters)
        assert answer.status_code == 200, answer.content
        found: list[dict[str, Any]] = answer.json()
        return found

    async def read_detail(self, notification_id: str | None = None) -> dict[str, Any]:
        """Return a notification with its attempts; by default the only one."""
        chosen = notification_id or (await self.single())["notification_id"]
        answer = await self.staff.get(f"/notifications/{chosen}")
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    async def single(self) -> dict[str, Any]:
        """Return the only notification."""
        (found,) = await self.list_notifications()
        return found


def ordered_item(name: str = "Lamp", quantity: int = 2, price: str = "19.99") -> OrderedItem:
    return OrderedItem(
        product_id=ProductId.new(),
        name=name,
        quantity=quantity,
        price=Decimal(price),
        subtotal=Decimal(price) * quantity,
    )


def order_event(user_id: UserId, **members: Any) -> Any:
    """Return the event of a changed order: OrderCancelled if it is cancelled, otherwise OrderUpdated."""
    items = members.pop("items", (ordered_item(),))
    usual: dict[str, Any] = {
        "order_id": OrderId.new(),
        "user_id": user_id,
        "status": "confirmed",
        "total": sum(each.subtotal for each in items),
        "currency": "USD",
        "items": items,
    }
    kind = OrderCancelled if members.get("status") == "cancelled" else OrderUpdated
    return kind(**usual | members)


@asynccontextmanager
async def open_notifications(
    databases: Databases, folder: Path, *, clock: ManualClock | None = None, **variables: str
) -> AsyncIterator[NotificationsService]:
    """Run notifications without background work, with an empty database and a mailbox."""
    settings = {"DATA_DIR": str(folder), "NOTIFICATIONS_MAIL_FROM": "Shop <shop@shop.example>", **variables}
    async with run_service(service, databases, variables=settings, clock=clock, background=False) as run:
        mailbox = run.context.resource(Mailer)  # type: ignore[type-abstract]
        assert isinstance(mailbox, Mailbox)
        mailer = FaultyMailer(mailbox)
        run.context.resource(Sender)._mailer = mailer  # type: ignore[assignment]
        yield NotificationsService(run, mailer)
