"""`portico drill`: what can't be drilled is refused."""

from pathlib import Path

import pytest

from portico.cli.drilling.servers import own_servers
from portico.cli.errors import CommandError
from portico.kit.servers import programs
from portico.kit.testing.commands import run_portico


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["clinic"], "There is no drill of 'clinic'"),
        (["commerce", "--faults", "crash,floods"], "There is no fault floods"),
        (["commerce", "--on", "the moon"], "--on the moon is no place to drill"),
        (["commerce", "--on", "servers", "--faults", "duplicate,reorder"], "causes duplicate, reorder on demand"),
    ],
)
def test_what_there_is_none_of_is_named(tmp_path: Path, options: list[str], said: str) -> None:
    done = run_portico(tmp_path, "drill", *options)

    assert done.returncode == 2
    assert said in done.stderr


def test_servers_that_are_not_installed_are_named_with_their_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))

    missing = r"no postgres on this machine; `make servers` .*`apt-get install postgresql`"
    with pytest.raises(CommandError, match=missing), own_servers():
        pytest.fail("there are none")
