"""`portico drill`: its options, and how it shows its progress."""

import io
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console
from typer.testing import CliRunner

from portico.cli.drill import app, count_actions
from portico.drill import DrillSettings
from portico.drill.private_servers import start_private_servers
from portico.kit.foundation.errors import CommandError
from portico.servers import programs


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clinic"], "There is no drill of 'clinic'"),
        (["commerce", "--faults", "crash,floods"], "Unknown faults: floods"),
        (["commerce", "--on", "the moon"], "--on the moon is not a place to drill"),
        (
            ["commerce", "--on", "servers", "--faults", "duplicate,reorder"],
            "cannot be caused on servers: duplicate, reorder",
        ),
    ],
)
def test_an_invalid_option_is_named(words: list[str], message: str) -> None:
    error = CliRunner().invoke(app, words).exception

    assert isinstance(error, CommandError)
    assert message in error.problem


def test_a_missing_server_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))

    missing = r"no postgres on this machine; `make servers` .*`apt-get install postgresql`"
    with pytest.raises(CommandError, match=missing), start_private_servers():
        pytest.fail("no server is installed")


@pytest.mark.parametrize(
    ("is_terminal", "expected"), [(True, ["seed 3: orders", "8/8"]), (False, ["seed 3: 2 of 8 orders done\n"])]
)
def test_the_number_of_placed_orders_is_shown(is_terminal: bool, expected: list[str]) -> None:  # noqa: FBT001 an example
    console = Console(file=io.StringIO(), force_terminal=is_terminal, highlight=False, width=100)
    with count_actions(console, "commerce", DrillSettings(8, seed=3, faults=(), rate=0.03)) as placed:
        for number in range(1, 9):
            placed(number)

    printed = cast("io.StringIO", console.file).getvalue()
    assert all(each in printed for each in expected)
    assert is_terminal or (printed.count("\n"), "\x1b" in printed) == (4, False)
