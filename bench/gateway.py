"""An authenticated GET through the gateway, compared with nginx and with simple proxies in Python.

One core runs the server; the other one runs the load generator and the service. Rounds are interleaved: compare the
ratios. The server's processor time per request is printed too, because other load disturbs it less. Run it with
`python bench/gateway.py`. It needs wrk and nginx.
"""

import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 3
SECONDS = 2
CONNECTIONS = 64
IDLE = 10_000
SERVING, LOADING = 0, 1
SERVERS = Path(__file__).parent / "peers" / "gateway_servers.py"
SMALL, LARGE, HUGE = "/loans/loan_1", "/loans/large", "/loans/huge"
NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log crit; worker_rlimit_nofile 65536;
events {{ worker_connections 32768; }}
http {{
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    upstream behind {{ server 127.0.0.1:{behind}; keepalive 128; keepalive_requests 1000000000; }}
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
TITLES = {
    "naive": "FastAPI and aiohttp, a new client for each request",
    "bare": "raw ASGI and aiohttp, no policy",
    "asgi": "the gateway's ASGI plane",
    "gateway": "the gateway",
    "nginx": "nginx, no policy",
    "local": "the gateway, service in its process",
    "endpoint": "the same endpoint under uvicorn, no gateway",
}
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
# `wrk.format` would write the fields in a random order.
SCRIPT = """
local tokens, at = {{}}, 0
for line in io.lines("{file}") do if #tokens < {count} then tokens[#tokens + 1] = line end end
request = function()
  at = at % #tokens + 1
  return "GET {path} HTTP/1.1\\r\\nHost: {host}\\r\\nAuthorization: Bearer " .. tokens[at] .. "\\r\\n\\r\\n"
end
"""


@dataclass(frozen=True)
class Scenario:
    """A kind of request and the servers that get it. The last server is the base of the ratios."""

    title: str
    names: tuple[str, ...]
    path: str = SMALL
    tokens: int = 1
    connections: int = CONNECTIONS
    seconds: int = SECONDS


SCENARIOS = (
    Scenario("GET of 300 B, one token", ("naive", "bare", "asgi", "gateway", "nginx")),
    Scenario("GET of 300 B, 100 tokens", ("gateway", "nginx"), tokens=100),
    Scenario("GET of 300 B, 10,000 tokens", ("gateway", "nginx"), tokens=10_000),
    Scenario("GET of 1 MB, one token", ("asgi", "gateway", "nginx"), LARGE),
    Scenario("GET of 100 MB, one token", ("asgi", "gateway", "nginx"), HUGE, connections=2, seconds=8),
    Scenario("GET of 300 B in one process", ("local", "endpoint")),
)


@dataclass(frozen=True)
class Figures:
    """Requests per second, the server's processor time per request (µs), and the 99th percentile of latency (ms)."""

    rate: float
    processor: float
    p99: float


@dataclass(frozen=True)
class Server:
    port: int
    pid: int
    tokens: Path

    def processor_seconds(self) -> float:
        """Return the processor time of the process and its children, such as the worker of nginx."""
        return sum(_processor_seconds(pid) for pid in _family(self.pid))

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _family(self.pid))
        return pages * os.sysconf("SC_PAGE_SIZE")


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _family(int(child)))]


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(command: list[str], core: int, port: int) -> Iterator[int]:
    """Start a process on a core of its own. Yield its pid as soon as it accepts connections."""

    def pin() -> None:
        os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})

    process = subprocess.Popen(command, preexec_fn=pin)  # noqa: PLW1509  it only pins itself
    try:
        until = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{command} did not start")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def start(folder: str, stack: ExitStack) -> dict[str, Server]:
    """Start all servers."""
    behind = free_port()
    servers: dict[str, Server] = {}
    for name in ("behind", *TITLES):
        port = behind if name == "behind" else free_port()
        tokens = Path(folder, f"{name}.tokens")
        command = [sys.executable, str(SERVERS), name, str(port), str(behind), str(tokens)]
        if name == "nginx":
            config = Path(folder, "nginx.conf")
            config.write_text(NGINX.format(folder=folder, port=port, behind=behind))
            command = ["nginx", "-p", folder, "-e", f"{folder}/error.log", "-c", str(config)]
        pid = stack.enter_context(running(command, LOADING if name == "behind" else SERVING, port))
        servers[name] = Server(port, pid, tokens)
    checked = servers["gateway"].tokens
    return {
        name: each if each.tokens.exists() else Server(each.port, each.pid, checked) for name, each in servers.items()
    }


def measure(server: Server, scenario: Scenario) -> Figures:
    """Put load on one server."""
    load = ["taskset", "-c", str(LOADING % (os.cpu_count() or 1)), "wrk", "--latency"]
    load += ["-t1", f"-c{scenario.connections}", f"-d{scenario.seconds}s"]
    if scenario.tokens == 1:
        with server.tokens.open() as lines:
            load += ["-H", f"Authorization: Bearer {next(lines).strip()}"]
    else:
        script = server.tokens.with_suffix(".lua")
        host = f"127.0.0.1:{server.port}"
        script.write_text(SCRIPT.format(file=server.tokens, count=scenario.tokens, path=scenario.path, host=host))
        load += ["-s", str(script)]
    before = server.processor_seconds()
    load.append(f"http://127.0.0.1:{server.port}{scenario.path}")
    said = subprocess.run(load, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        raise SystemExit(said)
    used = server.processor_seconds() - before
    requests = _found(r"(\d+) requests in", said)
    latency = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    p99 = float(latency[1]) * UNITS[latency[2]] if latency else 0.0
    if not requests:
        raise SystemExit(f"no request was complete within {scenario.seconds} seconds: {said}")
    return Figures(_found(r"Requests/sec:\s+([\d.]+)", said), used / requests * 1e6, p99)


def use_tokens(server: Server, count: int) -> None:
    """Send some requests with each token, so that the tokens are verified before the measured rounds."""
    with server.tokens.open() as lines, ExitStack() as stack:
        tokens = [line.strip() for line, _ in zip(lines, range(count), strict=False)]
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(8)]
        for start in range(0, len(tokens) * 2, len(connections)):
            for place, connection in enumerate(connections):
                token = tokens[(start + place) % len(tokens)]
                # The fields have the same order as in SCRIPT, because the gateway compares bytes.
                fields = f"Host: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {token}\r\n"
                connection.sendall(f"GET {SMALL} HTTP/1.1\r\n{fields}\r\n".encode())
            for connection in connections:
                connection.recv(65536)


def _found(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(text)
    return float(found[1])


def idle_memory(server: Server) -> tuple[int, float]:
    """Return how many used connections stayed open, and the memory (KB) of each."""
    with server.tokens.open() as lines:
        token = next(lines).strip()
    request = f"GET {SMALL} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    before = server.memory()
    with ExitStack() as stack:
        # All connect before the first request, because a server closes idle connections after some seconds.
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(IDLE)]
        for start in range(0, IDLE, CONNECTIONS):
            some = connections[start : start + CONNECTIONS]
            for connection in some:
                connection.sendall(request)
            for connection in some:
                connection.recv(65536)
        used = server.memory() - before
        count = sum(map(is_open, connections))
    return count, used / max(count, 1) / 1024


def is_open(connection: socket.socket) -> bool:
    """Return whether the server keeps the connection open."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def main() -> None:
    missing = [name for name in ("wrk", "nginx") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"install {' and '.join(missing)} to measure the gateway")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = start(folder, stack)
        for scenario in SCENARIOS:
            if scenario.tokens > 1:
                for name in scenario.names:
                    use_tokens(servers[name], scenario.tokens)
            rounds: dict[str, list[Figures]] = {name: [] for name in scenario.names}
            for number in range(ROUNDS + 1):
                for name in scenario.names:
                    figures = measure(servers[name], scenario)
                    if number:  # the first round warms up
                        rounds[name].append(figures)
            report(scenario, {name: median_of(each) for name, each in rounds.items()})
        print("\nmemory of an idle connection that was used once")
        for name in ("gateway", "nginx"):
            count, kilobytes = idle_memory(servers[name])
            print(f"{TITLES[name]:<52}{count:>11,} open{kilobytes:>9.1f} KB each", flush=True)


def median_of(rounds: list[Figures]) -> Figures:
    return Figures(
        statistics.median(each.rate for each in rounds),
        statistics.median(each.processor for each in rounds),
        statistics.median(each.p99 for each in rounds),
    )


def report(scenario: Scenario, medians: Mapping[str, Figures]) -> None:
    base = medians[scenario.names[-1]]
    decimals = 0 if scenario.path != HUGE else 1
    title = f"{scenario.title}, {scenario.connections} connections"
    print(f"\n{title:<52}{'requests/s':>11}{'ratio':>7}{'CPU µs':>9}{'ratio':>7}{'p99 ms':>9}")
    for name, median in medians.items():
        print(
            f"{TITLES[name]:<52}{median.rate:>11,.{decimals}f}{median.rate / base.rate:>7.3f}"
            f"{median.processor:>9.1f}{base.processor / median.processor:>7.3f}{median.p99:>9.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
