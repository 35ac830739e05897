"""Overhead of the kit on a bare endpoint: the same GET served by FastAPI alone and by a service of the kit.

Everything is on except tracing: request ids, metrics, a log line written to a file, the deadline, security headers,
CORS, authentication. Both are called as ASGI apps in this process, one request at a time. Run it with `python
bench/kit_overhead.py`. Rounds are interleaved: compare the differences.
"""

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from portico.kit.auth.access import SignedIn
from portico.kit.auth.tokens import TokenFormat
from portico.kit.auth.verification import KeyVerifier
from portico.kit.http.boundary import Reads, Work
from portico.kit.http.router import Router
from portico.kit.http.schema import Schema
from portico.kit.runtime.host import Host
from portico.kit.runtime.service import Service
from portico.kit.settings import Environment
from portico.kit.telemetry.logs import Logs
from portico.testing.clock import ManualClock
from portico.testing.issuer import Issuer
from portico.testing.running_service import system_of

ROUNDS = 21
REQUESTS = 400
BUDGET = 60  # microseconds

SendOne = Callable[[], Awaitable[None]]
bare = FastAPI()
router = Router(prefix="/kit")


class BareItem(BaseModel):
    item_id: str
    size: int


class KitItem(Schema):
    item_id: str
    size: int


@bare.get("/bare/{item_id}")
async def read_bare(item_id: str, size: int = 1) -> BareItem:
    return BareItem(item_id=item_id, size=size)


@router.get("/bare/{item_id}")
async def read(item_id: str, size: int = 1) -> KitItem:
    return KitItem(item_id=item_id, size=size)


@router.get("/reads/{item_id}")
async def read_with_reader(item_id: str, reads: Reads, work: Work, size: int = 1) -> KitItem:
    return KitItem(item_id=item_id, size=size)


@router.get("/signed/{item_id}")
async def read_signed_in(item_id: str, caller: SignedIn, size: int = 1) -> KitItem:
    return KitItem(item_id=item_id, size=size)


service = Service(name="kit", summary="A bare endpoint", module=__name__, routers=[router])


def get(app: Any, path: str, **headers: str) -> SendOne:
    """Return a function that sends one GET, as uvicorn would pass it to the app."""
    sent = [(b"host", b"localhost:8000"), (b"user-agent", b"bench"), (b"accept", b"*/*")]
    sent += [(name.encode(), value.encode()) for name, value in headers.items()]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise RuntimeError(f"{path} returned {message['status']}")

    async def send_one() -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": list(sent),
            "client": ("127.0.0.1", 5000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
        await app(scope, receive, send)

    return send_one


async def microseconds(send_one: SendOne) -> float:
    with no_collection():
        start = time.perf_counter()
        for _ in range(REQUESTS):
            await send_one()
        return (time.perf_counter() - start) / REQUESTS * 1e6


@contextmanager
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def opened(stack: AsyncExitStack, folder: Path) -> dict[str, SendOne]:
    clock = ManualClock()
    form = TokenFormat(issuer="portico", audience="catalog")
    issuer = Issuer(clock, form)
    stream = stack.enter_context((folder / "log").open("wb"))
    logs = Logs.configure(style="json", stream=stream)
    stack.callback(logs.close)
    variables = {"DATA_DIR": str(folder), "SECRET_KEY": "x" * 48, "SERVICE_SECRET": "y" * 48}
    host = Host(
        system_of(service),
        Environment(variables),
        verifier_of=lambda _: KeyVerifier(issuer, form, clock),
        clock=clock,
        logs=logs,
    )
    app = (await stack.enter_async_context(host)).apps["kit"]
    return {
        "bare FastAPI": get(bare, "/bare/a"),
        "Portico, the same": get(app, "/kit/bare/a"),
        "Portico, with reader and unit of work": get(app, "/kit/reads/a"),
        "Portico, signed in": get(app, "/kit/signed/a", authorization=f"Bearer {issuer.token()}"),
    }


async def main() -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        requests = await opened(stack, folder)
        for send_one in requests.values():
            await microseconds(send_one)
        rounds = [{name: await microseconds(send_one) for name, send_one in requests.items()} for _ in range(ROUNDS)]
    print(f"{'GET, one at a time, in process':<45}{'µs':>8}{'more than bare':>17}{'ratio':>8}")
    for name in requests:
        alone = statistics.median(each[name] for each in rounds)
        more = statistics.median(each[name] - each["bare FastAPI"] for each in rounds)
        ratio = statistics.median(each[name] / each["bare FastAPI"] for each in rounds)
        print(f"{name:<45}{alone:>8.1f}{more:>17.1f}{ratio:>8.2f}")
    print(f"\nThe kit may add {BUDGET} µs to the bare endpoint.")


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
