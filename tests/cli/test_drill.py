"""`portico drill`: what can't be drilled is refused."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from portico.cli.drill import app
from portico.cli.drilling.servers import own_servers
from portico.cli.errors import CommandError
from portico.servers import programs


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["clinic"], "There is no drill of 'clinic'"),
        (["commerce", "--faults", "crash,floods"], "There is no fault floods"),
        (["commerce", "--on", "the moon"], "--on the moon is no place to drill"),
        (["commerce", "--on", "servers", "--faults", "duplicate,reorder"], "causes duplicate, reorder on demand"),
    ],
)
def test_what_there_is_none_of_is_named(words: list[str], said: str) -> None:
    error = CliRunner().invoke(app, words).exception

    assert isinstance(error, CommandError)
    assert said in error.problem


def test_servers_that_are_not_installed_are_named_with_their_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))

    missing = r"no postgres on this machine; `make servers` .*`apt-get install postgresql`"
    with pytest.raises(CommandError, match=missing), own_servers():
        pytest.fail("there are none")
