"""The walk through the catalog system: users, products, two editors, a revoked token, identity away."""

import re
import secrets
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Protocol

from portico.demo.loading import load_products
from portico.demo.people import Person, sign_in
from portico.demo.probes import look_around
from portico.demo.walkthrough import NotAsItShouldBe, Walk

PAGE = 250
FEW = 5
CHEAP = 50
REVOKED_WITHIN = 2.0  # seconds, as the system promises
BACK_WITHIN = 20.0  # seconds for a service that was started again


class Stoppable(Protocol):
    """A system that the walk has to itself: it may stop identity and start it again."""

    @property
    def catalog(self) -> str:
        """Where catalog itself is, past the gateway."""

    async def stop_identity(self) -> None: ...
    async def start_identity(self) -> None: ...


async def walk_catalog(walk: Walk, *, products: int, own: Stoppable | None) -> None:
    """Walk through the system behind `walk`.

    Args:
        walk: to the gateway.
        products: how many to load.
        own: the system, where the walk may stop parts of it.

    Raises:
        NotAsItShouldBe: something differs from what the system promises.
    """
    mark = secrets.token_hex(4)
    await look_around(walk, system="catalog", path="/products")
    ada, bob = await _sign_up(walk, mark)
    rows = await load_products(walk, ada, mark, products)
    await _search(walk, rows, mark)
    await _collide(walk, ada, bob, mark)
    await _repeat(walk, ada, mark)
    await _revoke(walk, bob, own)
    if own is not None:
        await _without_identity(walk, ada, own, mark)


async def _sign_up(walk: Walk, mark: str) -> tuple[Person, Person]:
    walk.chapter("Two people sign up")
    people = [Person.called(name, mark) for name in ("ada", "bob")]
    for person in people:
        (await walk.call("POST", "/register", json=person.draft)).expect(201, email=person.email)
        await sign_in(walk, person)
    again = {"email": people[0].email.upper(), "password": "another password"}
    (await walk.call("POST", "/register", json=again)).expect(409, code="email_taken")
    wrong = {"email": people[0].email, "password": "not the password"}
    (await walk.call("POST", "/login", json=wrong)).expect(401)
    refused = (await walk.call("POST", "/products", json={"name": "Nobody's"})).expect(401)
    walk.check("www-authenticate" in refused.headers, "who is not signed in may write nothing")
    return people[0], people[1]


async def _search(walk: Walk, rows: list[dict[str, Any]], mark: str) -> None:
    walk.chapter("They are found")
    copper = [row for row in rows if "Copper" in row["name"]]
    answer = (
        await walk.call("GET", f"/products?search=copper+{rows[0]['sku'].split('-')[0].lower()}&limit={FEW}")
    ).expect(200)
    walk.check(len(answer.json()) == FEW, f"words are found in names and descriptions, {len(copper)} have 'copper'")
    sku = rows[42]["sku"]
    found = (await walk.call("GET", f"/products?search={sku}")).expect(200).json()
    walk.check([each["sku"] for each in found] == [sku], f"a product is found by its sku, {sku}")
    cheap = (
        (await walk.call("GET", f"/products?category=garden&max_price={CHEAP}&in_stock=true&sort=price&limit=20"))
        .expect(200)
        .json()
    )
    prices = [each["price"] for each in cheap]
    walk.check(
        prices == sorted(prices) and all(price <= CHEAP for price in prices), "filters filter, and sorting sorts"
    )
    seen = await _walk_pages(walk, mark)
    walk.check(len(seen) == len(rows), f"page after page by the Link header gives each of {len(rows)} products once")
    typo = await walk.call("GET", "/products?catgory=garden")
    walk.check(
        typo.expect(422).json()["code"] == "invalid_request", "a filter that is misspelt is refused, not ignored"
    )


async def _walk_pages(walk: Walk, mark: str) -> set[str]:
    seen: set[str] = set()
    path: str | None = f"/products?limit={PAGE}"
    while path is not None:
        answer = (await walk.call("GET", path, quiet=True)).expect(200)
        fresh = {each["product_id"] for each in answer.json() if each["sku"].endswith(mark)}
        if seen & fresh:
            raise NotAsItShouldBe(f"{path} gives products that an earlier page gave")
        seen |= fresh
        link = re.search(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
        path = link[1] if link else None
    return seen


async def _collide(walk: Walk, ada: Person, bob: Person, mark: str) -> None:
    walk.chapter("Two editors collide")
    path, draft = await _product(walk, ada, f"EDIT-{mark}")
    tag = (await walk.call("GET", path)).expect(200).headers["etag"]
    first = {**draft, "name": "As Ada would have it"}
    (await walk.call("PUT", path, json=first, token=ada.token, headers={"if-match": tag})).expect(
        200, name=first["name"]
    )
    second = {**draft, "name": "As Bob would have it"}
    (await walk.call("PUT", path, json=second, token=bob.token, headers={"if-match": tag})).expect(412)
    (await walk.call("GET", path)).expect(200, name=first["name"])
    walk.tell("the second editor is told (412), and the first one's change is kept and seen at once")


async def _product(walk: Walk, person: Person, sku: str) -> tuple[str, dict[str, Any]]:
    draft = {"name": "Bench", "price": 129.9, "category": "garden", "sku": sku}
    made = (await walk.call("POST", "/products", json=draft, token=person.token)).expect(201).json()
    return f"/products/{made['product_id']}", draft


async def _repeat(walk: Walk, ada: Person, mark: str) -> None:
    walk.chapter("A call that is sent twice")
    draft = {"name": "Kayak", "price": 899, "category": "sport", "sku": f"ONCE-{mark}"}
    key = {"idempotency-key": secrets.token_hex(8)}
    answers = [await walk.call("POST", "/products", json=draft, token=ada.token, headers=key) for _ in range(2)]
    made = {answer.expect(201).json()["product_id"] for answer in answers}
    walk.check(len(made) == 1, "with its Idempotency-Key it has one effect, and the same answer twice")
    (await walk.call("POST", "/products", json=draft, token=ada.token)).expect(409, code="sku_taken")


async def _revoke(walk: Walk, bob: Person, own: Stoppable | None) -> None:
    walk.chapter("A token is revoked")
    token = bob.token
    (await walk.call("POST", "/validate-token", json={"token": token})).expect(200, valid=True)
    (await walk.call("POST", "/auth/logout", token=token)).expect(204)
    places = ["/auth/me"] if own is None else ["/auth/me", f"{own.catalog}/products", "/products"]
    for place in places:
        seconds = await walk.until(
            _refuses(walk, place, token), within=REVOKED_WITHIN, what=f"{place} refuses the token"
        )
        walk.tell(f"{place} refuses it after {seconds:.2f} s")
    (await walk.call("POST", "/validate-token", json={"token": token})).expect(200, valid=False, reason="revoked")


def _refuses(walk: Walk, place: str, token: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        method, body = ("GET", None) if place.endswith("/me") else ("POST", {"name": "too late"})
        return (await walk.call(method, place, json=body, token=token, quiet=True)).status == HTTPStatus.UNAUTHORIZED

    return look


async def _without_identity(walk: Walk, ada: Person, own: Stoppable, mark: str) -> None:
    walk.chapter("Identity is stopped")
    await own.stop_identity()
    (await walk.call("GET", "/products?limit=1")).expect(200)
    (await walk.call("GET", "/products?limit=2", token=ada.token)).expect(200)
    walk.tell("products can still be read, with a token and without")
    draft = {"name": "Rope", "price": 20, "category": "sport", "sku": f"LATER-{mark}"}
    late = (await walk.call("POST", "/products", json=draft, token=ada.token)).expect(503)
    walk.check("retry-after" in late.headers, "writing fails with 503 and says when to retry")
    (await walk.call("GET", "/health")).expect(503, status="degraded")
    await own.start_identity()

    async def works() -> bool:
        return (
            await walk.call("POST", "/products", json=draft, token=ada.token, quiet=True)
        ).status == HTTPStatus.CREATED

    seconds = await walk.until(works, within=BACK_WITHIN, what="writing works again")
    walk.tell(f"identity is started again, and {seconds:.1f} s later so is writing")
