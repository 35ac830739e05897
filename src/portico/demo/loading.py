"""Products from a file into a catalogue."""

import tempfile
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from portico.demo.people import Person
from portico.demo.products import is_sound, read_products, write_products
from portico.demo.walkthrough import NotAsItShouldBe, Walk

BATCH = 500


def counting(console: Console) -> Progress:
    """A bar that counts, and is gone when it is done."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        TextColumn("{task.completed} of {task.total}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True)


async def load_products(walk: Walk, who: Person, mark: str, count: int) -> list[dict[str, Any]]:
    """Make a file of `count` products and load it: the rows that were taken, each with its `product_id`.

    Raises:
        NotAsItShouldBe: one was taken that should not be, or the other way round.
    """
    walk.chapter(f"A file of {count} products is loaded, {BATCH} a call")
    rows = _rows(count)
    for row in rows:
        row["sku"] = f"{row['sku']}-{mark}"
    results: list[dict[str, Any]] = []
    began = time.perf_counter()
    with counting(walk.console) as progress:
        task = progress.add_task("products", total=count)
        for start in range(0, count, BATCH):
            part = rows[start : start + BATCH]
            answer = await walk.call("POST", "/products/batch", json=part, token=who.token, quiet=True)
            found = answer.expect(200).json()
            if len(found) != len(part):
                raise NotAsItShouldBe(f"a batch of {len(part)} was answered with {len(found)} results")
            results += found
            progress.update(task, advance=len(part))
    seconds = time.perf_counter() - began
    walk.tell(f"{count} rows in {seconds:.1f} s, {count / seconds:.0f} a second")
    refused = [result for result in results if "product_id" not in result]
    sound = [row for row in rows if is_sound(row)]
    walk.check(
        len(refused) == count - len(sound)
        and all(each["status"] == HTTPStatus.UNPROCESSABLE_ENTITY for each in refused),
        f"{len(sound)} were taken; {len(refused)} with a price below zero were refused, each with its reason",
    )
    taken = (result["product_id"] for result in results if "product_id" in result)
    return [{**row, "product_id": product_id} for row, product_id in zip(sound, taken, strict=True)]


def _rows(count: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "products.csv"
        write_products(file, count)
        return read_products(file)
