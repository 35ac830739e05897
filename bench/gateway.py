"""An authenticated GET of 300 bytes through the gateway, beside nginx and beside the proxy that one writes first.

One core serves; the other holds the load and the service. Rounds are interleaved and only the ratios count. Beside the
requests per second of the wall clock it prints the server's processor time per request, which other load disturbs less.
Run it with `python bench/gateway.py`. It needs wrk, and leaves nginx out where it is not on PATH.
"""

import asyncio
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROUNDS = 5
SECONDS = 3
CONNECTIONS = 64
SERVING, LOADING = 0, 1
PATH = "/loans/loan_1"
BODY = b'{"loan_id":"loan_1","note":"' + b"x" * 271 + b'"}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    upstream behind {{ server 127.0.0.1:{behind}; keepalive 128; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_pass http://behind;
        }}
    }}
}}
"""


class AlwaysAnswering(asyncio.Protocol):
    """A service that costs next to nothing, so that the proxy is what is measured."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.waiting = b""

    def data_received(self, data: bytes) -> None:
        heads = (self.waiting + data).split(b"\r\n\r\n")
        self.waiting = heads.pop()
        self.transport.write(ANSWER * len(heads))


async def serve_behind(port: int, _: int, __: str) -> None:
    server = await asyncio.get_running_loop().create_server(AlwaysAnswering, "127.0.0.1", port)
    await server.serve_forever()


async def serve_gateway(port: int, behind: int, token_file: str) -> None:
    """The gateway as it runs: route, verified token, rate, breaker, metrics; no log lines, as nginx writes none."""
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
    await asyncio.to_thread(Path(token_file).write_text, issuer.token())
    gateway = Gateway(
        System("library", "", gateway=port, services={loans: behind}),
        Settings(rate_limit=Rate(10**9, 60)),
        verifier=KeyVerifier(issuer, issuer.form, Clock()),
        apps={},
        addresses={"loans": f"http://127.0.0.1:{behind}"},
    )
    async with gateway:
        await _serve(gateway, port)


def _signed_in_endpoint() -> Any:
    from portico.kit.auth.access import SignedIn

    async def read(loan_id: str, caller: SignedIn) -> None: ...

    return read


async def serve_naive(port: int, behind: int, _: str) -> None:
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


async def serve_bare(port: int, behind: int, _: str) -> None:
    """A raw ASGI app and aiohttp, with no policy at all: what the plane's own work is measured against."""
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
    "gateway": serve_gateway,
    "naive": serve_naive,
    "bare": serve_bare,
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process and its children, such as the worker of nginx."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(processor_seconds(int(child)) for child in children)


@contextmanager
def running(command: list[str], core: int, port: int) -> Iterator[int]:
    """Start a process on a core of its own. Yield its pid as soon as it accepts connections."""

    def pin() -> None:
        os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})

    process = subprocess.Popen(command, preexec_fn=pin)  # noqa: PLW1509  it only pins itself
    try:
        until = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{command} did not start")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


@dataclass(frozen=True)
class Figures:
    """Requests per second, and the server's processor time per request in microseconds."""

    rate: float
    processor: float


def measure(port: int, token: str, pid: int) -> Figures:
    load = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-H", f"Authorization: Bearer {token}"]
    pinned = ["taskset", "-c", str(LOADING % (os.cpu_count() or 1)), *load, f"http://127.0.0.1:{port}{PATH}"]
    before = processor_seconds(pid)
    said = subprocess.run(pinned, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        raise SystemExit(said)
    used = processor_seconds(pid) - before
    rate = next(float(line.split()[1]) for line in said.splitlines() if line.startswith("Requests/sec"))
    requests = next(int(line.split()[0]) for line in said.splitlines() if "requests in" in line)
    return Figures(rate, used / requests * 1e6)


def main() -> None:
    if shutil.which("wrk") is None:
        raise SystemExit("install wrk to measure the gateway")
    names = ["naive", "bare", "gateway"] + ["nginx"] * (shutil.which("nginx") is not None)
    ports = {name: free_port() for name in ["behind", *names]}
    figures: dict[str, list[Figures]] = {name: [] for name in names}
    pids: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        token_file = Path(folder, "token")
        for name, port in ports.items():
            command = [sys.executable, __file__, name, str(port), str(ports["behind"]), str(token_file)]
            if name == "nginx":
                config = Path(folder, "nginx.conf")
                config.write_text(NGINX.format(folder=folder, port=port, behind=ports["behind"]))
                command = ["nginx", "-p", folder, "-e", f"{folder}/error.log", "-c", str(config)]
            pids[name] = stack.enter_context(running(command, LOADING if name == "behind" else SERVING, port))
        token = token_file.read_text()
        for number in range(ROUNDS + 1):
            for name in names:
                measured = measure(ports[name], token, pids[name])
                if number:  # the first round warms up
                    figures[name].append(measured)
    report({name: median_of(rounds) for name, rounds in figures.items()})


def median_of(rounds: list[Figures]) -> Figures:
    return Figures(
        statistics.median(each.rate for each in rounds), statistics.median(each.processor for each in rounds)
    )


def report(medians: dict[str, Figures]) -> None:
    base = medians.get("nginx", medians["bare"])
    print(
        f"{'an authenticated GET of 300 B, 64 connections':<52}{'requests/s':>12}{'ratio':>8}{'CPU µs':>9}{'ratio':>8}"
    )
    titles = {
        "naive": "FastAPI and aiohttp, a new client for each request",
        "bare": "raw ASGI and aiohttp, no policy",
        "gateway": "the gateway's ASGI plane",
        "nginx": "nginx, no policy",
    }
    for name, median in medians.items():
        print(
            f"{titles[name]:<52}{median.rate:>12,.0f}{median.rate / base.rate:>8.3f}"
            f"{median.processor:>9.1f}{base.processor / median.processor:>8.3f}"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        import uvloop

        uvloop.run(SERVE[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
    else:
        main()
