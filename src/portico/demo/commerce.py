"""The walkthrough of the commerce system: single orders, then concurrent customers, then a reconciliation."""

import asyncio
import secrets
import time
from dataclasses import dataclass, replace

from portico.demo.accounts import Account, sign_in, sign_up
from portico.demo.crowd import Crowd
from portico.demo.probes import check_system
from portico.demo.product_import import load_products
from portico.demo.progress import progress_bar
from portico.demo.shelf import Shelf
from portico.demo.shop_records import ShopRecordsReader
from portico.demo.single_orders import SingleOrders
from portico.demo.supervised_system import SupervisedSystem
from portico.demo.tables import comparison_table, orders_table
from portico.demo.walkthrough import Walk
from portico.gateway_client import ExpectationFailed

_QUIET_WITHIN = 120.0  # seconds
_POLL = 0.5
_MAX_PRINTED = 10
_UNSETTLED = {"pending", "reserved", "paid"}


@dataclass(frozen=True)
class Scope:
    """The size of a walkthrough.

    Args:
        products: the number of products to load.
        customers: the number of concurrent customers.
        kill: whether processes are killed meanwhile.
    """

    products: int
    customers: int
    kill: bool = False


async def walk_commerce(walk: Walk, scope: Scope, staff: Account, own: SupervisedSystem | None) -> None:
    """Walk through the commerce system.

    Args:
        walk: to its gateway.
        scope: the size.
        staff: an account with staff permissions.
        own: the system if the demo started it: its processes may be killed, and its dead letters listed.

    Raises:
        ExpectationFailed: a response is not as promised.
    """
    suffix = secrets.token_hex(4)
    await check_system(walk, system="commerce", path="/orders")
    await sign_in(walk, staff)
    shelf = Shelf.of(await load_products(walk, staff, suffix, scope.products))
    jane, john = await _sign_up(walk, suffix)
    single = SingleOrders(walk, shelf, jane, john, staff)
    await single.run()
    crowd = Crowd(walk, shelf, staff, suffix, scope.customers)
    await crowd.sign_up()
    if own is not None and scope.kill:
        await crowd.shop(own.kill, own.targets)
        health = await walk.client(within=_QUIET_WITHIN).request_until_final("GET", "/health")
        health.expect(200, status="healthy")
        walk.report("all killed processes run again")
    else:
        await crowd.shop(None, ())
    placed = [*single.placed, *crowd.placed]
    users = {account.user_id for account in (jane, john, *crowd.customers)}
    await _reconcile(walk, ShopRecordsReader(walk, staff, shelf, placed, users), own)


async def _sign_up(walk: Walk, suffix: str) -> tuple[Account, Account]:
    walk.section("Jane and John sign up")
    jane, john = await sign_up(walk, ("jane", "john"), suffix)
    return jane, john


async def _reconcile(walk: Walk, reader: ShopRecordsReader, own: SupervisedSystem | None) -> None:
    """Wait until all work is done, and print whether orders, stock, payments and mails agree. Raises ExpectationFailed."""
    walk.section("Reconciliation")
    await _wait_until_settled(walk, reader)
    until = time.monotonic() + _QUIET_WITHIN
    records = await reader.read()
    while records.mismatches() and time.monotonic() < until:
        await asyncio.sleep(_POLL)
        records = await reader.read()
    if own is not None:
        records = replace(records, dead_letters=await own.dead_letters())
    mismatches = records.mismatches()
    walk.console.print(orders_table(records))
    walk.console.print(comparison_table(records))
    if mismatches:
        more = f"\n  and {len(mismatches) - _MAX_PRINTED} more" if len(mismatches) > _MAX_PRINTED else ""
        raise ExpectationFailed("The records do not agree:\n  " + "\n  ".join(mismatches[:_MAX_PRINTED]) + more)


async def _wait_until_settled(walk: Walk, reader: ShopRecordsReader) -> None:
    with progress_bar(walk.console) as progress:
        task = progress.add_task("settled", total=len(reader.placed))

        async def is_settled() -> bool:
            unsettled = sum(order["status"] in _UNSETTLED for order in await reader.orders())
            progress.update(task, completed=len(reader.placed) - unsettled)
            return not unsettled

        seconds = await walk.until(is_settled, within=_QUIET_WITHIN, what="every order is settled", every=_POLL)
    walk.report(f"every order is settled {seconds:.1f} s after the last one was placed")
