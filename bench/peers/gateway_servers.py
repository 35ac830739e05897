"""Server processes of `bench/gateway.py`: the service, the gateway, and the proxies that it is compared with.

Arguments: name of the server, its port, the ports of the service, and the file of tokens.
"""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from portico.kit.runtime.serving import ConnectionLimits, ServedApp, Servers, bind

MAX_TOKENS = 10_000
MAX_CONNECTIONS = 30_000
IDLE_SECONDS = 120.0


def _answer(size: int) -> bytes:
    body = b'{"loan_id":"loan_1","note":"' + b"x" * (size - 29) + b'"}'
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


SMALL = _answer(300)
LARGE = _answer(1 << 20)
HUGE = _answer(100 << 20)


class FixedResponses(asyncio.Protocol):
    """A service that costs almost no processor time, so that the proxy is the bottleneck."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.waiting = b""

    def data_received(self, data: bytes) -> None:
        heads = (self.waiting + data).split(b"\r\n\r\n")
        self.waiting = heads.pop()
        for head in heads:
            self.transport.write(HUGE if b"/loans/huge " in head else LARGE if b"/loans/large " in head else SMALL)


async def serve_behind(port: int, _: str, __: str) -> None:
    server = await asyncio.get_running_loop().create_server(FixedResponses, "127.0.0.1", port)
    await server.serve_forever()


async def serve_gateway(port: int, behind: str, token_file: str, *, is_local: bool = False) -> None:
    """The gateway with routing, verified token, rate limit, breaker and metrics. It writes no access log, like nginx."""
    async with open_gateway(port, behind, token_file, is_local=is_local) as gateway:
        limits = ConnectionLimits(total=MAX_CONNECTIONS, each=MAX_CONNECTIONS)
        # Idle connections stay open long enough to measure 10,000 of them.
        kind = type("IdleConnection", (gateway.connection_class,), {"idle_seconds": IDLE_SECONDS})
        served = ServedApp("gateway", gateway, bind("127.0.0.1", port), limits, kind)
        async with Servers([served], grace=1.0):
            gc.freeze()  # as `portico run` does
            gc.set_threshold(10_000)
            await asyncio.Event().wait()


async def serve_asgi_plane(port: int, behind: str, token_file: str) -> None:
    """The same gateway as an ASGI application under uvicorn."""
    async with open_gateway(port, behind, token_file) as gateway:
        await _serve(gateway, port)


@asynccontextmanager
async def open_gateway(port: int, behind: str, token_file: str, *, is_local: bool = False) -> AsyncIterator[Any]:
    from portico.gateway import Gateway
    from portico.kit.auth.verification import KeyVerifier
    from portico.kit.foundation.clock import Clock
    from portico.kit.http.router import Router
    from portico.kit.runtime.service import Service
    from portico.kit.runtime.system import System
    from portico.kit.settings import Settings
    from portico.kit.settings.values import Rate
    from portico.testing.issuer import Issuer

    router = Router(prefix="/loans")
    router.get("/{loan_id}")(_signed_in_endpoint())
    loans = Service(name="loans", summary="", module=__name__, routers=[router])
    issuer = Issuer(Clock())
    await asyncio.to_thread(_write_tokens, Path(token_file), issuer)
    gateway = Gateway(
        System("library", "", gateway=port, services={loans: 1}),
        Settings(rate_limit=Rate(10**9, 60)),
        verifier=KeyVerifier(issuer, issuer.form, Clock()),
        apps={"loans": endpoint()} if is_local else {},
        addresses={} if is_local else {"loans": ",".join(f"http://127.0.0.1:{each}" for each in behind.split(","))},
    )
    async with gateway:
        yield gateway


def _write_tokens(file: Path, issuer: Any) -> None:
    file.write_text("\n".join([issuer.token() for _ in range(MAX_TOKENS)]))


def endpoint() -> Any:
    """An application with one endpoint, as in a service."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/loans/{loan_id}")
    async def read(loan_id: str) -> dict[str, str]:
        return {"loan_id": loan_id, "note": "x" * 271}

    return app


async def serve_endpoint(port: int, _: str, __: str) -> None:
    await _serve(endpoint(), port)


def _signed_in_endpoint() -> Any:
    from portico.kit.auth.access import SignedIn

    async def read(loan_id: str, caller: SignedIn) -> None: ...

    return read


async def serve_naive(port: int, behind: str, _: str) -> None:
    """FastAPI with a new client for each request."""
    import aiohttp
    from fastapi import FastAPI, Response

    app = FastAPI()

    @app.get("/{path:path}")
    async def proxy(path: str) -> Response:
        address = f"http://127.0.0.1:{behind}/{path}"
        async with aiohttp.ClientSession() as client, client.get(address, headers={"x-request-id": "1"}) as answer:
            return Response(await answer.read(), answer.status, media_type=answer.headers["content-type"])

    await _serve(app, port)


async def serve_bare(port: int, behind: str, _: str) -> None:
    """A raw ASGI app with aiohttp and no policy, to compare the cost of the ASGI plane with."""
    import aiohttp

    async with aiohttp.ClientSession(auto_decompress=False, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def app(scope: Any, _receive: Any, send: Any) -> None:
            async with session.get(f"http://127.0.0.1:{behind}{scope['path']}") as answer:
                await send({"type": "http.response.start", "status": answer.status, "headers": answer.raw_headers})
                await send({"type": "http.response.body", "body": await answer.read()})

        await _serve(app, port)


async def _serve(app: Any, port: int) -> None:
    import uvicorn

    config = uvicorn.Config(app, port=port, log_level="error", access_log=False, lifespan="off", proxy_headers=False)
    await uvicorn.Server(config).serve()


SERVE: dict[str, Callable[..., Any]] = {
    "behind": serve_behind,
    "asgi": serve_asgi_plane,
    "gateway": serve_gateway,
    "local": partial(serve_gateway, is_local=True),
    "endpoint": serve_endpoint,
    "naive": serve_naive,
    "bare": serve_bare,
}

if __name__ == "__main__":
    import uvloop

    uvloop.run(SERVE[sys.argv[1]](int(sys.argv[2]), sys.argv[3], sys.argv[4]))
