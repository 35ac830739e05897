"""Load products from a file into the catalog."""

import tempfile
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

from portico.demo.accounts import Account
from portico.demo.product_file import is_valid, read_products, write_products
from portico.demo.progress import progress_bar
from portico.demo.walkthrough import Walk
from portico.gateway_client import ExpectationFailed

BATCH = 500


async def load_products(walk: Walk, account: Account, suffix: str, count: int) -> list[dict[str, Any]]:
    """Write a file of `count` products and load it.

    Returns:
        the accepted rows, each with its `product_id`.

    Raises:
        ExpectationFailed: an invalid row was accepted, or a valid one rejected.
    """
    walk.section(f"A file of {count} products is loaded, {BATCH} per request")
    rows = _rows(count)
    for row in rows:
        row["sku"] = f"{row['sku']}-{suffix}"
    results: list[dict[str, Any]] = []
    started_at = time.perf_counter()
    with progress_bar(walk.console) as progress:
        task = progress.add_task("products", total=count)
        for start in range(0, count, BATCH):
            batch = rows[start : start + BATCH]
            response = await walk.call("POST", "/products/batch", json=batch, token=account.token, quiet=True)
            found = response.expect(200).json()
            if len(found) != len(batch):
                raise ExpectationFailed(f"A batch of {len(batch)} products has {len(found)} results.")
            results += found
            progress.update(task, advance=len(batch))
    seconds = time.perf_counter() - started_at
    walk.report(f"{count} rows in {seconds:.1f} s, {count / seconds:.0f} per second")
    rejected = [result for result in results if "product_id" not in result]
    valid = [row for row in rows if is_valid(row)]
    walk.check(
        len(rejected) == count - len(valid)
        and all(each["status"] == HTTPStatus.UNPROCESSABLE_ENTITY for each in rejected),
        f"{len(valid)} were accepted; {len(rejected)} with a negative price were rejected, each with its reason",
    )
    ids = (result["product_id"] for result in results if "product_id" in result)
    return [{**row, "product_id": product_id} for row, product_id in zip(valid, ids, strict=True)]


def _rows(count: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "products.csv"
        write_products(file, count)
        return read_products(file)
