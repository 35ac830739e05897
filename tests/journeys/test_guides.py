"""The commands of README and of the guides, run in a shell against systems that run from Portico's wheel alone."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.stranger import Stranger

from portico.testing.commands import free_ports

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADMINISTRATOR = {"ADMIN_EMAIL": "admin@example.com", "ADMIN_PASSWORD": "THE PRINTED PASSWORD"}
SLEEP = re.compile(r"^sleep 1 .*$", re.MULTILINE)


def blocks(page: str, beginning: str, end: str) -> list[str]:
    """Return the shell commands of a page between two lines."""
    text = (ROOT / page).read_text("utf-8")
    return BLOCK.findall(text[text.index(beginning) : text.index(end)])


@contextmanager
def gateway_of(stranger: Stranger, system: str, folder: Path, **variables: str) -> Iterator[str]:
    """Run a system; yield the address of its gateway, without a scheme."""
    [port] = free_ports(1)
    options = ("--free-ports", f"--gateway-port={port}")
    with stranger.start(folder, "up", system, *options, variables=variables) as up:
        up.wait_for(f"http://127.0.0.1:{port}")
        yield f"localhost:{port}"


def run(script: str) -> str:
    shell = ["/bin/bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(shell, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match[1]


@pytest.mark.slow
class TestReadme:
    def test_the_order_is_confirmed(self, stranger: Stranger, tmp_path: Path) -> None:
        commands = "\n".join(blocks("README.md", "## Try it", "The demo lets"))
        assert SLEEP.search(commands) is not None
        order, mails = "orders/$ORDER -H 'authorization: Bearer '$ADA", "mailbox -H 'authorization: Bearer '$STAFF"
        wait = "\n".join(
            f"until curl -s localhost:8080/{path} | grep {text}; do :; done"
            for path, text in ((order, "confirmed"), (mails, "ada@example.com"))
        )
        with gateway_of(stranger, "commerce", tmp_path, **ADMINISTRATOR) as gateway:
            script = SLEEP.sub(wait, commands.replace("make up\n", ""))
            printed = run(script.replace("localhost:8080", gateway))

        assert '"status":"confirmed"' in printed
        assert '"available":1' in printed
        assert '"what":"order.created"' in printed
        assert '"recipient":"Ada <ada@example.com>"' in printed


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
