"""The walkthrough of the catalog system: users, products, conflicting edits, a revoked token, identity stopped."""

import re
import secrets
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Protocol

from portico.demo.accounts import Account, sign_up
from portico.demo.probes import check_system
from portico.demo.product_import import load_products
from portico.demo.walkthrough import Walk
from portico.gateway_client import ExpectationFailed

PAGE = 250
FEW = 5
CHEAP = 50
REVOKED_WITHIN = 2.0  # seconds, as the system promises
RESTARTED_WITHIN = 20.0  # seconds


class Stoppable(Protocol):
    """A system that the demo started, and whose identity service it may stop and start."""

    @property
    def catalog(self) -> str:
        """Address of catalog itself, without the gateway."""

    async def stop_identity(self) -> None: ...
    async def start_identity(self) -> None: ...


async def walk_catalog(walk: Walk, *, products: int, own: Stoppable | None) -> None:
    """Walk through the catalog system.

    Args:
        walk: to its gateway.
        products: the number of products to load.
        own: the system if the demo started it.

    Raises:
        ExpectationFailed: a response is not as promised.
    """
    suffix = secrets.token_hex(4)
    await check_system(walk, system="catalog", path="/products")
    ada, bob = await _sign_up(walk, suffix)
    rows = await load_products(walk, ada, suffix, products)
    await _search(walk, rows, suffix)
    await _edit_concurrently(walk, ada, bob, suffix)
    await _repeat_request(walk, ada, suffix)
    await _revoke_token(walk, bob, own)
    if own is not None:
        await _stop_identity(walk, ada, own, suffix)


async def _sign_up(walk: Walk, suffix: str) -> tuple[Account, Account]:
    walk.section("Ada and Bob sign up")
    accounts = await sign_up(walk, ("ada", "bob"), suffix)
    duplicate = {"email": accounts[0].email.upper(), "password": "another password"}
    (await walk.call("POST", "/register", json=duplicate)).expect(409, code="email_taken")
    wrong = {"email": accounts[0].email, "password": "not the password"}
    (await walk.call("POST", "/login", json=wrong)).expect(401)
    rejected = (await walk.call("POST", "/products", json={"name": "Anonymous"})).expect(401)
    walk.check("www-authenticate" in rejected.headers, "an anonymous client cannot create a product")
    return accounts[0], accounts[1]


async def _search(walk: Walk, rows: list[dict[str, Any]], suffix: str) -> None:
    walk.section("Products are searched")
    copper = [row for row in rows if "Copper" in row["name"]]
    response = (
        await walk.call("GET", f"/products?search=copper+{rows[0]['sku'].split('-')[0].lower()}&limit={FEW}")
    ).expect(200)
    walk.check(len(response.json()) == FEW, f"the search finds words in names and descriptions, {len(copper)} 'copper'")
    sku = rows[42]["sku"]
    found = (await walk.call("GET", f"/products?search={sku}")).expect(200).json()
    walk.check([each["sku"] for each in found] == [sku], f"the search finds a product by its sku, {sku}")
    cheap = (
        (await walk.call("GET", f"/products?category=garden&max_price={CHEAP}&in_stock=true&sort=price&limit=20"))
        .expect(200)
        .json()
    )
    prices = [each["price"] for each in cheap]
    walk.check(
        prices == sorted(prices) and all(price <= CHEAP for price in prices), "the results are filtered and sorted"
    )
    seen = await _read_pages(walk, suffix)
    walk.check(len(seen) == len(rows), f"following the Link header gives each of {len(rows)} products once")
    misspelt = await walk.call("GET", "/products?catgory=garden")
    walk.check(misspelt.expect(422).json()["code"] == "invalid_request", "a misspelt filter is rejected")


async def _read_pages(walk: Walk, suffix: str) -> set[str]:
    seen: set[str] = set()
    path: str | None = f"/products?limit={PAGE}"
    while path is not None:
        response = (await walk.call("GET", path, quiet=True)).expect(200)
        page = {each["product_id"] for each in response.json() if each["sku"].endswith(suffix)}
        if seen & page:
            raise ExpectationFailed(f"{path} returns products of an earlier page.")
        seen |= page
        link = re.search(r'<([^>]+)>; rel="next"', response.headers.get("link", ""))
        path = link[1] if link else None
    return seen


async def _edit_concurrently(walk: Walk, ada: Account, bob: Account, suffix: str) -> None:
    walk.section("Two users edit the same product")
    draft = {"name": "Bench", "price": 129.9, "category": "garden", "sku": f"EDIT-{suffix}"}
    created = (await walk.call("POST", "/products", json=draft, token=ada.token)).expect(201).json()
    path = f"/products/{created['product_id']}"
    tag = (await walk.call("GET", path)).expect(200).headers["etag"]
    first, second = {**draft, "name": "Ada's name"}, {**draft, "name": "Bob's name"}
    updated = await walk.call("PUT", path, json=first, token=ada.token, headers={"if-match": tag})
    updated.expect(200, name=first["name"])
    (await walk.call("PUT", path, json=second, token=bob.token, headers={"if-match": tag})).expect(412)
    (await walk.call("GET", path)).expect(200, name=first["name"])
    walk.report("the second edit is rejected (412), and the first one is visible at once")


async def _repeat_request(walk: Walk, ada: Account, suffix: str) -> None:
    walk.section("A request is sent twice")
    draft = {"name": "Kayak", "price": 899, "category": "sport", "sku": f"ONCE-{suffix}"}
    key = {"idempotency-key": secrets.token_hex(8)}
    responses = [await walk.call("POST", "/products", json=draft, token=ada.token, headers=key) for _ in range(2)]
    ids = {response.expect(201).json()["product_id"] for response in responses}
    walk.check(len(ids) == 1, "with one Idempotency-Key it has one effect, and the same response twice")
    (await walk.call("POST", "/products", json=draft, token=ada.token)).expect(409, code="sku_taken")


async def _revoke_token(walk: Walk, bob: Account, own: Stoppable | None) -> None:
    walk.section("A token is revoked")
    token = bob.token
    (await walk.call("POST", "/validate-token", json={"token": token})).expect(200, valid=True)
    (await walk.call("POST", "/auth/logout", token=token)).expect(204)
    paths = ["/auth/me"] if own is None else ["/auth/me", f"{own.catalog}/products", "/products"]
    for path in paths:
        seconds = await walk.until(
            _rejects(walk, path, token), within=REVOKED_WITHIN, what=f"{path} rejects the revoked token"
        )
        walk.report(f"{path} rejects it after {seconds:.2f} s")
    (await walk.call("POST", "/validate-token", json={"token": token})).expect(200, valid=False, reason="revoked")


def _rejects(walk: Walk, path: str, token: str) -> Callable[[], Awaitable[bool]]:
    async def is_rejected() -> bool:
        method, body = ("GET", None) if path.endswith("/me") else ("POST", {"name": "too late"})
        response = await walk.call(method, path, json=body, token=token, quiet=True)
        return response.status == HTTPStatus.UNAUTHORIZED

    return is_rejected


async def _stop_identity(walk: Walk, ada: Account, own: Stoppable, suffix: str) -> None:
    walk.section("Identity is stopped")
    await own.stop_identity()
    (await walk.call("GET", "/products?limit=1")).expect(200)
    (await walk.call("GET", "/products?limit=2", token=ada.token)).expect(200)
    walk.report("products can still be read, with a token and without")
    draft = {"name": "Rope", "price": 20, "category": "sport", "sku": f"LATER-{suffix}"}
    failed = (await walk.call("POST", "/products", json=draft, token=ada.token)).expect(503)
    walk.check("retry-after" in failed.headers, "writing fails with 503 and says when to retry")
    (await walk.call("GET", "/health")).expect(503, status="degraded")
    await own.start_identity()

    async def is_created() -> bool:
        response = await walk.call("POST", "/products", json=draft, token=ada.token, quiet=True)
        return response.status == HTTPStatus.CREATED

    seconds = await walk.until(is_created, within=RESTARTED_WITHIN, what="writing works again")
    walk.report(f"identity is restarted; {seconds:.1f} s later writing works again")
