"""`portico drill` rejects invalid options."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from portico.cli.drill import app
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
