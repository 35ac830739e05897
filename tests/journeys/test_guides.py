"""The commands of README and of the guides, run in a shell against systems that run from Portico's wheel alone."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.support.stranger import Stranger

from portico.testing.commands import free_ports

ROOT = Path(__file__).parents[2]
TIMEOUT = 600.0  # seconds
BLOCK = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADMINISTRATOR = {"ADMIN_EMAIL": "admin@example.com", "ADMIN_PASSWORD": "THE PRINTED PASSWORD"}
SLEEP = re.compile(r"^sleep 1 .*$", re.MULTILINE)

FAILING_CURL = 'curl() { command curl --fail-with-body "$@"; }\n'
"""An HTTP error ends the script."""

LEFT_OUT = {
    "deployment.md": {
        "make servers": "installs packages; test_commerce_on_servers.py runs a system on servers",
        "docker build": "needs Docker; tests/deployment checks the image",
        "umask 077": "needs Docker Compose; tests/deployment checks the file",
        "TRUSTED_PROXIES=": "runs until it is stopped, behind a proxy on another machine",
    },
    "drill.md": {"portico drill commerce": "takes many minutes; tests/drill and tests/cli/test_drill.py run drills"},
    "messaging.md": {
        "portico dead-letters list": "needs an event that failed; tests/cli/test_dead_letters.py runs each"
    },
}
"""Blocks of guides that are not run: by page, how a block starts, and why it is left out."""

WITHOUT_A_RUNNING_SYSTEM = "portico migrate"
"""Start of a block that is run in an empty folder, because it takes tables from a running service."""

PRINTED = {
    "deployment.md": ["Wrote nginx/commerce.conf", "Wrote traefik/commerce.yaml", "Wrote nginx-direct/commerce.conf"],
    "messaging.md": ["order.created", '"specversion":"1.0"'],
    "operations.md": ["identity: undid", '"token_type":"Bearer"', "403 permission_missing"],
    "orders.md": ['"status":"pending"', '"total":39.98'],
    "signing-in.md": ["client_id: client_", "client_secret: "],
    "stock.md": ['"available":3', '"available":5', '"kind":"receipt"'],
}
"""What the commands of a guide print, by page."""


def blocks(page: str, beginning: str, end: str) -> list[str]:
    """Return the shell commands of a page between two lines."""
    text = (ROOT / page).read_text("utf-8")
    return BLOCK.findall(text[text.index(beginning) : text.index(end)])


def guide_blocks(page: str) -> list[str]:
    """Return the shell commands of a guide."""
    return BLOCK.findall((ROOT / "docs" / page).read_text("utf-8"))


def reason_to_leave_out(page: str, block: str) -> str | None:
    """Return why a block is not run; None if it is."""
    return next((reason for start, reason in LEFT_OUT.get(page, {}).items() if block.startswith(start)), None)


GUIDES = sorted(
    path.name
    for path in (ROOT / "docs").glob("*.md")
    if path.name not in {"tutorial.md", "getting-started.md", "ticketing.md"}  # they have tests of their own
    and any(reason_to_leave_out(path.name, block) is None for block in guide_blocks(path.name))
)


@contextmanager
def gateway_of(stranger: Stranger, system: str, folder: Path, *options: str, **variables: str) -> Iterator[str]:
    """Run a system; yield the address of its gateway, without a scheme."""
    [port] = free_ports(1)
    ports = ("--free-ports", f"--gateway-port={port}")
    with stranger.start(folder, "up", system, *ports, *options, variables=variables) as up:
        up.wait_for(f"http://127.0.0.1:{port}")
        yield f"localhost:{port}"


def run(script: str, *, folder: Path | None = None, variables: Mapping[str, str] | None = None) -> str:
    """Run a script, in a folder with the environment of this process and `variables`; return what it prints."""
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match[1]


@dataclass(frozen=True)
class Shop:
    """A running commerce system in which a reader has placed the order of README.

    Args:
        folder: where the reader started it.
        gateway: address of the gateway, without a scheme.
        identity: address of identity, likewise.
        stranger: whose programs the reader has.
        printed: what README's commands printed.
    """

    folder: Path
    gateway: str
    identity: str
    stranger: Stranger
    printed: str = ""

    def run(self, script: str, folder: Path | None = None) -> str:
        """Run the commands of a page as a reader would; return what they print."""
        for written, address in (("localhost:8080", self.gateway), ("localhost:8001", self.identity)):
            script = script.replace(written, address)
        addresses = {"PUBLIC_URL": f"http://{self.gateway}", "IDENTITY_SERVICE_URL": f"http://{self.identity}"}
        variables = self.stranger.variables | addresses  # a reader has the declared ports and sets neither
        return run(f"{FAILING_CURL}{script}", folder=folder or self.folder, variables=variables)


@pytest.fixture(scope="module")
def shop(stranger: Stranger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    commands = "\n".join(blocks("README.md", "## Try it", "The demo lets"))
    assert SLEEP.search(commands) is not None
    order, mails = "orders/$ORDER -H 'authorization: Bearer '$ADA", "mailbox -H 'authorization: Bearer '$STAFF"
    wait = "\n".join(
        f"until curl -s localhost:8080/{path} | grep {text}; do :; done"
        for path, text in ((order, "confirmed"), (mails, "ada@example.com"))
    )
    folder, [identity] = tmp_path_factory.mktemp("shop"), free_ports(1)
    with gateway_of(stranger, "commerce", folder, f"--port=identity={identity}", **ADMINISTRATOR) as gateway:
        shop = Shop(folder, gateway, f"localhost:{identity}", stranger)
        yield replace(shop, printed=shop.run(SLEEP.sub(wait, commands.replace("make up\n", ""))))


@pytest.mark.slow
class TestReadme:
    def test_the_order_is_confirmed(self, shop: Shop) -> None:
        assert '"status":"confirmed"' in shop.printed
        assert '"available":1' in shop.printed
        assert '"what":"order.created"' in shop.printed
        assert '"recipient":"Ada <ada@example.com>"' in shop.printed


@pytest.mark.slow
class TestGuides:
    @pytest.mark.parametrize("page", GUIDES)
    def test_its_commands_run_as_written(self, page: str, shop: Shop, tmp_path: Path) -> None:
        executed = [block for block in guide_blocks(page) if reason_to_leave_out(page, block) is None]
        stopped = [block for block in executed if block.startswith(WITHOUT_A_RUNNING_SYSTEM)]

        printed = shop.run("\n".join(block for block in executed if block not in stopped))
        printed += shop.run("\n".join(stopped), tmp_path)

        missing = [text for text in PRINTED.get(page, ()) if text not in printed]
        assert missing == [], printed


class TestLeftOutBlocks:
    def test_are_on_their_pages(self) -> None:
        absent = [
            (page, start)
            for page, starts in LEFT_OUT.items()
            for start in starts
            if not any(block.startswith(start) for block in guide_blocks(page))
        ]
        assert absent == []


@pytest.mark.slow
class TestGettingStarted:
    def test_each_call_is_answered_as_described(self, stranger: Stranger, tmp_path: Path) -> None:
        register, sign_in, me, create, search, batch, edit = blocks(
            "docs/getting-started.md", "## Sign up, sign in", "## The administrator"
        )
        with gateway_of(stranger, "catalog", tmp_path) as gateway:

            def run_block(text: str) -> str:
                return run(text.replace("localhost:8000", gateway))

            assert '"roles":["customer"]' in run_block(register)
            token = found('"access_token":"([^"]+)"', run_block(sign_in))
            assert '"valid":true' in run_block(me.replace("TOKEN=…", f"TOKEN={token}"))
            signed_in = f"TOKEN={token}\n"
            created = run_block(signed_in + create)
            assert created.startswith("HTTP/1.1 201")
            product = found('"product_id":"([^"]+)"', created)
            assert re.search("x-total-count: 1", run_block(search), re.IGNORECASE)
            assert "Rake" in run_block(signed_in + batch)
            assert '"price":39.9' in run_block(signed_in + edit.replace("prod_…", product))


@pytest.mark.slow
class TestTicketing:
    def test_its_calls_are_answered_as_described(self, stranger: Stranger, tmp_path: Path) -> None:
        commands = "\n".join(blocks("docs/ticketing.md", "## Put a show on sale", "## Roles"))
        seats, paid = SLEEP.findall(commands)
        waits = (
            ("inventory/$SHOW", "available", seats),
            ("bookings/$BOOKING -H 'authorization: Bearer '$ADA", "CONFIRMED", paid),
        )
        for path, text, sleep in waits:
            commands = commands.replace(sleep, f"until curl -s localhost:8000/api/{path} | grep {text}; do :; done")
        with gateway_of(stranger, "ticketing", tmp_path, **ADMINISTRATOR) as gateway:
            printed = run(commands.replace("localhost:8000", gateway), variables=stranger.variables)

        expected = ('"states":"FFFFFFFFFF"', "<em>Queen</em>", '"status":"CONFIRMED"', '"sold":2', '"gate":"North"')
        assert [text for text in (*expected, "already_checked_in") if text not in printed] == [], printed
