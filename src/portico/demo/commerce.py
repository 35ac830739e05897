"""The walk through the commerce system: an order step by step, then a hundred customers at once, then the books."""

import asyncio
import secrets
import time
from dataclasses import dataclass, replace

from portico.demo.crowd import Crowd
from portico.demo.loading import counting, load_products
from portico.demo.one_order import StepByStep
from portico.demo.own_shop import OwnShop
from portico.demo.people import Person, sign_in
from portico.demo.probes import look_around
from portico.demo.records import Bookkeeper
from portico.demo.shelf import Shelf
from portico.demo.tables import books_table, orders_table
from portico.demo.walkthrough import NotAsItShouldBe, Walk

_QUIET_WITHIN = 120.0  # seconds until all that was begun has come to an end
_LOOK = 0.5
_MOST_TOLD = 10
_UNSETTLED = {"pending", "reserved", "paid"}


@dataclass(frozen=True)
class Visit:
    """What is to be walked through.

    Args:
        products: how many are loaded.
        customers: how many order at once.
        kill: whether processes are killed meanwhile.
    """

    products: int
    customers: int
    kill: bool = False


async def walk_commerce(walk: Walk, visit: Visit, staff: Person, own: OwnShop | None) -> None:
    """Walk through the system behind `walk`.

    Args:
        walk: to the gateway.
        visit: how much of it.
        staff: an account with staff rights.
        own: the shop, where nobody else is in it: its processes may be killed, and its dead letters looked at.

    Raises:
        NotAsItShouldBe: something differs from what the system promises.
    """
    mark = secrets.token_hex(4)
    await look_around(walk, system="commerce", path="/orders")
    await sign_in(walk, staff)
    shelf = Shelf.of(await load_products(walk, staff, mark, visit.products))
    jane, john = await _sign_up(walk, mark)
    steps = StepByStep(walk, shelf, jane, john, staff)
    await steps.go()
    crowd = Crowd(walk, shelf, staff, mark, visit.customers)
    await crowd.arrive()
    if own is not None and visit.kill:
        await crowd.shop(own.kill, own.killable)
        (await walk.insist("GET", "/health", within=_QUIET_WITHIN)).expect(200, status="healthy")
        walk.tell("all that was killed is back")
    else:
        await crowd.shop(None, ())
    placed = [*steps.placed, *crowd.placed]
    people = {person.user_id for person in (jane, john, *crowd.people)}
    await _reckon(walk, Bookkeeper(walk, staff, shelf, placed, people), own)


async def _sign_up(walk: Walk, mark: str) -> tuple[Person, Person]:
    walk.chapter("Jane and John sign up")
    people = [Person.called(name, mark) for name in ("jane", "john")]
    for person in people:
        (await walk.call("POST", "/register", json=person.draft)).expect(201, email=person.email)
        await sign_in(walk, person)
    return people[0], people[1]


async def _reckon(walk: Walk, keeper: Bookkeeper, own: OwnShop | None) -> None:
    """Wait until all has come to rest, show the books, and say whether they agree. Raises NotAsItShouldBe."""
    walk.chapter("The books")
    await _settle(walk, keeper)
    until = time.monotonic() + _QUIET_WITHIN
    books = await keeper.books()
    while books.wrong() and time.monotonic() < until:
        await asyncio.sleep(_LOOK)
        books = await keeper.books()
    if own is not None:
        books = replace(books, dead_letters=await own.dead_letters())
    wrong = books.wrong()
    walk.console.print(orders_table(books))
    walk.console.print(books_table(books))
    if wrong:
        more = f"\n  and {len(wrong) - _MOST_TOLD} more" if len(wrong) > _MOST_TOLD else ""
        raise NotAsItShouldBe("The books do not agree:\n  " + "\n  ".join(wrong[:_MOST_TOLD]) + more)


async def _settle(walk: Walk, keeper: Bookkeeper) -> None:
    """Wait until no order is on its way."""
    with counting(walk.console) as progress:
        task = progress.add_task("settled", total=len(keeper.placed))

        async def settled() -> bool:
            open_orders = sum(order["status"] in _UNSETTLED for order in await keeper.orders())
            progress.update(task, completed=len(keeper.placed) - open_orders)
            return not open_orders

        seconds = await walk.until(settled, within=_QUIET_WITHIN, what="every order is settled", every=_LOOK)
    walk.tell(f"every order is settled {seconds:.1f} s after the last one was placed")
