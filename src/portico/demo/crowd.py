"""A hundred customers who order at once, with every method of payment; some think better of it, some send it back."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from portico.demo.loading import counting
from portico.demo.people import Person
from portico.demo.shelf import METHODS, Shelf, order_of
from portico.demo.walkthrough import NoAnswer, NotAsItShouldBe, Walk

ORDERS_EACH = 2
FATES: Mapping[str, Sequence[str]] = {
    "is shipped": ("ship",),
    "comes back": ("ship", "deliver", "return"),
    "is delivered": ("ship", "deliver"),
    "is called off": (),
    "is called off when it is confirmed": (),
    "stays": (),
    "stays a while": (),
}
"""What becomes of orders, and what the staff does for it. As many as share no divisor with the methods of payment."""

_AT_THE_DOOR = 8  # who sign up at once
_UNSETTLED = {"pending", "reserved", "paid"}
_LOOK = 0.5  # seconds until a customer follows an order again of which nothing is told any more
_PATIENCE = 120.0
_ENOUGH = {200, 202}


@dataclass
class Crowd:
    """Customers of a shop.

    Args:
        walk: to the gateway.
        shelf: what is sold.
        staff: ships what they order.
        mark: keeps them apart from those of another walk.
        size: how many they are.
    """

    walk: Walk
    shelf: Shelf
    staff: Person
    mark: str
    size: int
    people: list[Person] = field(default_factory=list)
    placed: list[str] = field(default_factory=list)

    async def arrive(self) -> None:
        """Everybody signs up. Raises NotAsItShouldBe."""
        self.walk.chapter(f"{self.size} customers sign up")
        self.people = [Person.called(f"customer-{number}", self.mark) for number in range(self.size)]
        with _first_of_many():
            await self._side_by_side("signed up", self.people, self._sign_up, at_once=_AT_THE_DOOR)
        self.walk.tell(f"{self.size} of them have a token")

    async def shop(self, kill: Callable[[str], Awaitable[None]] | None, killable: Sequence[str]) -> None:
        """Everybody orders, at once; meanwhile each of `killable` is killed. Raises NotAsItShouldBe."""
        self.walk.chapter(f"All of them order, at once: {self._total} orders, paid for in every way there is")
        visits = [(number, person) for number, person in enumerate(self.people * ORDERS_EACH)]
        with _first_of_many():
            await self._all_at_once(visits, kill, killable)
        methods = Counter(METHODS[number % len(METHODS)] for number in range(self._total))
        self.walk.tell(f"{len(self.placed)} orders placed: {', '.join(f'{n} {m}' for m, n in methods.items())}")
        if self.walk.repeats:
            self.walk.tell(f"{self.walk.repeats} calls got no final answer, and were sent again by the same key")

    @property
    def _total(self) -> int:
        return self.size * ORDERS_EACH

    async def _all_at_once(
        self, visits: Sequence[Any], kill: Callable[[str], Awaitable[None]] | None, killable: Sequence[str]
    ) -> None:
        async with asyncio.TaskGroup() as group:
            if kill is not None:
                group.create_task(self._kill(kill, killable))
            group.create_task(self._side_by_side("ordered", visits, self._visit, at_once=self.size))

    async def _side_by_side(
        self, what: str, things: Sequence[Any], act: Callable[[Any], Awaitable[None]], *, at_once: int
    ) -> None:
        turns = asyncio.Semaphore(at_once)
        with counting(self.walk.console) as progress:
            task = progress.add_task(what, total=len(things))

            async def in_turn(thing: Any) -> None:
                async with turns:
                    await act(thing)
                progress.advance(task)

            async with asyncio.TaskGroup() as group:
                for thing in things:
                    group.create_task(in_turn(thing))

    async def _sign_up(self, person: Person) -> None:
        made = await self.walk.insist("POST", "/register", json=person.draft, key=secrets.token_hex(8))
        made.expect(201, email=person.email)
        draft = {"email": person.email, "password": person.password}
        person.is_in((await self.walk.insist("POST", "/login", json=draft)).expect(200).json())

    async def _kill(self, kill: Callable[[str], Awaitable[None]], killable: Sequence[str]) -> None:
        """Kill one after the other, spread over the time in which orders are placed."""
        for number, name in enumerate(killable, 1):
            orders = self._total * number // (len(killable) + 1)
            await self.walk.until(
                partial(self._has_placed, orders), within=_PATIENCE, what=f"{orders} orders are placed"
            )
            await kill(name)
            self.walk.tell(f"{name} is killed (SIGKILL) after {len(self.placed)} orders")

    async def _has_placed(self, orders: int) -> bool:
        return len(self.placed) >= orders

    async def _visit(self, visit: tuple[int, Person]) -> None:
        number, person = visit
        [method, fate] = METHODS[number % len(METHODS)], list(FATES)[number % len(FATES)]
        plenty = self.shelf.plenty
        items = [(plenty[number % len(plenty)], 1 + number % 2)]
        if number % 4 == 0:  # so many want what there is little of
            items.append((self.shelf.scarce, 1))
        key = f"{self.mark}-{number}"
        draft = order_of(*items, method=method)
        answer = await self.walk.insist("POST", "/orders", json=draft, token=person.token, key=key)
        order_id = answer.expect(201, status="pending").json()["order_id"]
        self.placed.append(order_id)
        await self._goes_on(order_id, person, fate, key)

    async def _goes_on(self, order_id: str, person: Person, fate: str, key: str) -> None:
        if fate == "is called off":
            await self._ask(order_id, "cancel", person, key)
        elif fate in {"stays", "stays a while"} or await self._settled(order_id, person) != "confirmed":
            return
        elif fate == "is called off when it is confirmed":
            await self._ask(order_id, "cancel", person, key)
        for step in FATES[fate]:
            await self._ask(order_id, step, self.staff, key)

    async def _ask(self, order_id: str, what: str, who: Person, key: str) -> None:
        """Ask for what an order is to become next. It may have failed meanwhile: then that is refused."""
        path = f"/orders/{order_id}/{what}"
        answer = await self.walk.insist("POST", path, token=who.token, key=f"{key}-{what}")
        if answer.status not in _ENOUGH and what != "cancel":
            raise NotAsItShouldBe(f"{path} was answered with {answer.status}: {answer.text(300)}")
        if answer.status not in _ENOUGH:
            answer.expect(409, code="illegal_transition", current="failed")

    async def _settled(self, order_id: str, person: Person) -> str:
        """How an order stands once it is settled: its customer follows it, and comes again where that breaks off."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                told = await self.walk.follow(
                    f"/orders/{order_id}/live",
                    token=person.token,
                    until=lambda said: said["status"] not in _UNSETTLED,
                    within=max(1.0, until - time.monotonic()),
                    quiet=True,
                )
            except NoAnswer:
                if time.monotonic() > until:
                    raise
                self.walk.repeats += 1
                await asyncio.sleep(_LOOK)
            else:
                return str(told[-1]["status"])


@contextmanager
def _first_of_many() -> Iterator[None]:
    """Raise the first that went wrong in a group of tasks, not the group."""
    try:
        yield
    except ExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
