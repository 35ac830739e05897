"""Notifications as tests use them: users that are known, orders that come along, and the mailbox."""

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
from portico.testing.clock import HeldClock
from portico.testing.databases import Databases
from portico.testing.running_service import Caller, RunningService, running

_numbers = itertools.count(1)


class Faults:
    """A mailbox that fails as it is told to, first told first; then it works. The first mail waits for `held`."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.limit = mailbox.limit
        self.ahead: list[Exception] = []
        self.tried: list[Mail] = []
        self.held: asyncio.Event | None = None
        self.holding = asyncio.Event()
        self._arrived = asyncio.Condition()

    async def send(self, mail: Mail) -> str:
        self.tried.append(mail)
        if self.held is not None and not self.holding.is_set():
            self.holding.set()
            await self.held.wait()
        if self.ahead:
            raise self.ahead.pop(0)
        answer = await self.mailbox.send(mail)
        async with self._arrived:
            self._arrived.notify_all()
        return answer

    async def arrived(self, count: int) -> list[StoredMail]:
        """The mails, oldest first, once there are `count` of them."""
        async with self._arrived:
            while len(found := (await self.mailbox.page(Window(limit=1000))).rows) < count:
                await self._arrived.wait()
        return list(reversed(found))


@dataclass(frozen=True)
class Letters:
    """Notifications under test. Nothing is sent before `send`."""

    run: RunningService
    faults: Faults

    @property
    def staff(self) -> Caller:
        return self.run.as_user("notifications:read", "notifications:write")

    @property
    def sender(self) -> Sender:
        return self.run.context.resource(Sender)

    def fail_with(self, *failures: MailFailed | Exception) -> None:
        """Have the next mails fail so."""
        self.faults.ahead.extend(failures)

    async def known_user(self, name: str = "Ada Lovelace", email: str | None = None) -> UserId:
        """A user whose address is known."""
        user_id = UserId.new()
        address = email or f"user{next(_numbers)}@example.com"
        await self.run.receives(UserCreated(user_id=user_id, email=address, name=name))
        return user_id

    async def rename(self, user_id: UserId, name: str, email: str) -> None:
        await self.run.receives(UserUpdated(user_id=user_id, email=email, name=name, is_active=True))

    async def delete(self, user_id: UserId) -> None:
        await self.run.receives(UserDeleted(user_id=user_id))

    async def confirmed(self, user_id: UserId, **members: Any) -> OrderId:
        """An order of the user that has just been confirmed."""
        event = order(user_id, **{"status": "confirmed"} | members)
        await self.run.receives(event)
        return event.order_id

    async def send(self) -> int:
        """Send all that is due; how many looks it took."""
        rounds = 0
        while await self.sender.send_due():
            rounds += 1
        return rounds

    async def mails(self) -> list[StoredMail]:
        """The mails that arrived, oldest first."""
        return await self.faults.arrived(0)

    async def listed(self, **filters: Any) -> list[dict[str, Any]]:
        """The notifications as staff sees them, newest first."""
        answer = await self.staff.get("/notifications", params=filters)
        assert answer.status_code == 200, answer.content
        found: list[dict[str, Any]] = answer.json()
        return found

    async def detail(self, notification_id: str | None = None) -> dict[str, Any]:
        """A notification with its attempts; the only one there is by default."""
        chosen = notification_id or (await self.only())["notification_id"]
        answer = await self.staff.get(f"/notifications/{chosen}")
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    async def only(self) -> dict[str, Any]:
        """The only notification that there is."""
        (found,) = await self.listed()
        return found


def item(name: str = "Lamp", quantity: int = 2, price: str = "19.99") -> OrderedItem:
    return OrderedItem(
        product_id=ProductId.new(),
        name=name,
        quantity=quantity,
        price=Decimal(price),
        subtotal=Decimal(price) * quantity,
    )


def order(user_id: UserId, **members: Any) -> Any:
    """The event that an order stands otherwise: an OrderCancelled where it is cancelled, else an OrderUpdated."""
    items = members.pop("items", (item(),))
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
async def opened(
    databases: Databases, folder: Path, *, clock: HeldClock | None = None, **variables: str
) -> AsyncIterator[Letters]:
    """Notifications on a database and a mailbox of its own; it sends when the test says so."""
    settings = {"DATA_DIR": str(folder), "NOTIFICATIONS_MAIL_FROM": "Shop <shop@shop.example>", **variables}
    async with running(service, databases, variables=settings, clock=clock, background=False) as run:
        mailbox = run.context.resource(Mailer)  # type: ignore[type-abstract]
        assert isinstance(mailbox, Mailbox)
        faults = Faults(mailbox)
        run.context.resource(Sender)._mailer = faults  # type: ignore[assignment]
        yield Letters(run, faults)
