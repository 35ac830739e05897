"""Commands that are forked from a process with their modules behave like new processes."""

import signal
from pathlib import Path

import pytest
from tests.support.signals import default_action

from portico.kit.runtime.fork_server import ForkedProcess
from portico.testing.commands import Command, environment, eventually, run_portico
from portico.testing.preloaded import can_preload


class TestPreloadedCommand:
    def test_has_its_own_folder_variables_and_output(self, tmp_path: Path) -> None:
        here = run_portico(tmp_path, "config", "--json", variables={"DATA_DIR": "elsewhere"})
        other = run_portico(tmp_path, "config", "--json")

        assert (here.returncode, here.stderr) == (0, "")
        assert '"elsewhere"' in here.stdout
        assert '"elsewhere"' not in other.stdout

    def test_returns_the_exit_status(self, tmp_path: Path) -> None:
        assert run_portico(tmp_path, "systems", "--no-such-option").returncode == 2

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_is_ended_by_a_signal(self, tmp_path: Path, number: signal.Signals) -> None:
        with Command(tmp_path, "up", "catalog", "--free-ports") as up:
            assert isinstance(up.process, ForkedProcess)
            eventually(lambda: "Ctrl-C" in up.err, "the addresses")

            up.process.send_signal(number)

            assert up.process.wait(60) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
            assert up.process.poll() == up.process.returncode

    def test_is_interrupted_as_by_ctrl_c(self, tmp_path: Path) -> None:
        with default_action(signal.SIGINT):
            started = Command(tmp_path, "up", "catalog", "--free-ports")
        with started as up:
            eventually(lambda: "Ctrl-C" in up.err, "the addresses")

            assert up.stop(signal.SIGINT) == 0

    def test_needs_an_environment_without_other_variables_of_python(self) -> None:
        assert can_preload(environment())
        assert not can_preload(environment({"PYTHONDEVMODE": "1"}))
