"""A fork server starts processes like new programs, and reports how they end."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import psutil
import pytest

from portico.kit.runtime.fork_server import ForkedCommand, ForkedProcess, ForkServer, ForkServerEnded
from portico.testing.commands import environment
from portico.testing.preloaded import preloaded_server, start_preloaded_server

FUNCTIONS = "tests.support.forked"
LONG = 60.0  # seconds

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


@pytest.fixture
def server() -> ForkServer:
    return preloaded_server(environment()["PYTHONPATH"])


@pytest.fixture
def waiting(server: ForkServer) -> Iterator[ForkedProcess]:
    """A process that waits until its standard input ends."""
    reader, writer = os.pipe()
    process = server.start(ForkedCommand(f"{FUNCTIONS}:read_input", (), {}), (reader, 1, 2))
    os.close(reader)
    yield process
    os.close(writer)
    process.wait(LONG)


def run(server: ForkServer, function: str, **options: Any) -> tuple[int, str, str]:
    """Run a function in a forked process; return the exit status, and what the process has written."""
    command = ForkedCommand(f"{FUNCTIONS}:{function}", **{"arguments": (), "environ": {}, **options})
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        status = server.start(command, (0, out, err)).wait(LONG)
        for each in (out, err):
            each.seek(0)
        return status, out.read(), err.read()


class TestForkServer:
    def test_a_process_gets_what_its_command_says(self, server: ForkServer, tmp_path: Path) -> None:
        status, out, _ = run(
            server,
            "describe",
            arguments=["up", "--split"],
            environ={"LEVEL": "debug"},
            name="orders 1",
            folder=str(tmp_path),
            new_session=True,
            ignored=[signal.SIGINT],
        )

        assert status == 0
        assert json.loads(out) == {
            "arguments": ["up", "--split"],
            "environ": {"LEVEL": "debug"},
            "folder": str(tmp_path),
            "leads_session": True,
            "name": "orders 1" if sys.platform == "linux" else None,
            "ignores_interrupts": True,
        }

    def test_a_process_keeps_what_its_command_leaves_out(self, server: ForkServer) -> None:
        described = json.loads(run(server, "describe")[1])

        assert described["folder"] == str(Path.cwd())
        assert not described["leads_session"]
        assert not described["ignores_interrupts"]

    @pytest.mark.parametrize(
        ("function", "status", "line"),
        [("exit_with_number", 3, ""), ("exit_with_text", 1, "no"), ("fail", 1, "ValueError: unexpected")],
    )
    def test_an_exit_status_is_that_of_a_program(
        self, server: ForkServer, function: str, status: int, line: str
    ) -> None:
        ended, _, err = run(server, function)

        assert ended == status
        assert err.rpartition("\n")[0].endswith(line)

    def test_a_process_ended_by_a_signal_has_its_negative_number(self, waiting: ForkedProcess) -> None:
        assert waiting.poll() is None

        waiting.kill()

        assert waiting.wait(LONG) == waiting.poll() == -signal.SIGKILL

    async def test_several_tasks_wait_for_one_process(self, waiting: ForkedProcess) -> None:
        tasks = [asyncio.create_task(waiting.exited()) for _ in range(2)]
        given_up = asyncio.create_task(waiting.exited())
        await asyncio.sleep(0)
        given_up.cancel()

        waiting.send_signal(signal.SIGTERM)

        assert await asyncio.gather(*tasks) == [-signal.SIGTERM] * 2
        assert await waiting.exited() == -signal.SIGTERM

    async def test_tasks_get_a_status_that_was_read_meanwhile(self, waiting: ForkedProcess) -> None:
        task = asyncio.create_task(waiting.exited())
        await asyncio.sleep(0)
        waiting.kill()

        status = waiting.wait(LONG)

        assert await task == status == -signal.SIGKILL

    async def test_the_end_of_the_server_is_reported(self) -> None:
        server = start_preloaded_server(environment()["PYTHONPATH"])
        ours, theirs = socket.socketpair()
        process = server.start(ForkedCommand(f"{FUNCTIONS}:read_input", (), {}), (theirs, 1, 2))
        theirs.close()
        orphan = psutil.Process(process.pid)
        orphan.parents()[0].kill()

        for _ in range(2):
            with pytest.raises(ForkServerEnded):
                await process.exited()
        with pytest.raises(ForkServerEnded):
            process.wait(LONG)
        process.send_signal(signal.SIGKILL)  # has no effect: the id may belong to another process
        with pytest.raises(ForkServerEnded):
            server.start(ForkedCommand(f"{FUNCTIONS}:describe", (), {}), (0, 1, 2))

        ours.close()
        assert psutil.wait_procs([orphan], LONG) == ([orphan], [])
