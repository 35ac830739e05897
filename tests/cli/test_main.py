import errno
import subprocess
import sys
from pathlib import Path

import pytest

from portico.cli import COMMANDS, app
from portico.cli.errors import print_error
from portico.kit.foundation.errors import CommandError
from portico.kit.runtime.system import NoSuchService
from portico.kit.runtime.system_loader import find_system
from portico.kit.settings import SettingsError


def portico(*arguments: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from portico.cli import main; sys.argv[0] = 'portico'; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONUTF8": "1", **environ},
        check=False,
        timeout=60,
    )


DECLARING = {"sqlalchemy", "fastapi", "portico.systems.commerce"}
"""What declarations of services import."""
SERVING = {
    "aiohttp",
    "uvicorn",
    "httptools",
    "alembic",
    "asyncpg",
    "redis",
    "aiormq",
    "jinja2",
    "portico.kit.runtime.host",
}
"""What only a running service imports."""


class TestMain:
    def test_help_names_every_command(self, tmp_path: Path) -> None:
        printed = portico("--help", folder=tmp_path)

        assert printed.returncode == 0
        assert all(command in printed.stdout for command in COMMANDS)

    @pytest.mark.parametrize(
        ("command", "unneeded"),
        [
            ("--help", {"pydantic", *DECLARING, *SERVING}),
            ("new project shop", {*DECLARING, *SERVING}),
            ("migrate --help", {*DECLARING, *SERVING}),
            ("config --json", {"portico.services.orders.api", "cryptography", *DECLARING, *SERVING}),
            ("config", {"portico.services.orders.api", "cryptography", *DECLARING, *SERVING}),
            ("systems", {"portico.services.orders.api", "cryptography", *DECLARING, *SERVING}),
            ("export nginx catalog", SERVING - {"uvicorn", "httptools"}),
        ],
    )
    def test_a_command_imports_no_slow_library_that_it_does_not_need(
        self, command: str, unneeded: set[str], tmp_path: Path
    ) -> None:
        code = (
            f"import sys; from portico.cli import app; app({command.split()!r}, standalone_mode=False); "
            f"print({unneeded!r} & set(sys.modules) or 'none')"
        )

        printed = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path)},
        )

        assert printed.stdout.splitlines()[-1] == "none"

    def test_an_invalid_setting_is_reported_without_a_traceback(self, tmp_path: Path) -> None:
        printed = portico("config", folder=tmp_path, LOG_LEVEL="chatty")

        assert printed.returncode == 2
        assert "LOG_LEVEL=chatty (environment) cannot be used" in printed.stderr
        assert "Traceback" not in printed.stderr
        assert printed.stdout == ""

    def test_debug_adds_the_traceback(self, tmp_path: Path) -> None:
        assert "Traceback" in portico("config", folder=tmp_path, LOG_LEVEL="chatty", DEBUG="1").stderr

    def test_an_unknown_command_is_refused(self, tmp_path: Path) -> None:
        printed = portico("dance", folder=tmp_path)

        assert printed.returncode == 2
        assert "dance" in printed.stderr

    def test_it_is_named_portico(self) -> None:
        assert app.info.name == "portico"


class TestPrintError:
    @pytest.fixture(autouse=True)
    def _quiet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DEBUG", raising=False)
        monkeypatch.setenv("COLUMNS", "200")

    def test_a_user_error_is_printed_with_its_advice(self, capsys: pytest.CaptureFixture[str]) -> None:
        status = print_error(CommandError("Port 8000 is taken.", "Stop what listens there."))

        assert status == 2
        assert capsys.readouterr().err == "✗ Port 8000 is taken.\n  Stop what listens there.\n"

    def test_each_invalid_setting_has_its_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert print_error(SettingsError("One.", "[Two].")) == 2

        assert capsys.readouterr().err.splitlines()[:2] == ["✗ One.", "✗ [Two]."]

    def test_an_internal_error_is_printed_without_passwords(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert print_error(RuntimeError("lost redis://:hunter2@cache")) == 1

        message = capsys.readouterr().err
        assert message.startswith("✗ Portico failed: RuntimeError: lost redis://:***@cache\n")
        assert "DEBUG=1" in message

    def test_an_unknown_service_is_reported_with_the_ways_to_name_its_system(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(NoSuchService) as raised:
            find_system("catalog").placement("loans")

        assert print_error(raised.value) == 2
        assert "in the folder of its project, or name the system: --system" in capsys.readouterr().err

    def test_a_full_disk_is_an_error_of_the_user(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert print_error(OSError(errno.ENOSPC, "No space left on device", "/data/shop.db")) == 2

        message = capsys.readouterr().err
        assert message.startswith("✗ /data/shop.db: No space left on device.\n  Free space")

    @pytest.mark.parametrize(
        ("source", "problem"),
        [
            ("def lend(:\n", "line 1: SyntaxError: invalid syntax"),
            ("\nimport shelves\n", "line 2: ModuleNotFoundError: No module named 'shelves'"),
        ],
    )
    def test_an_error_in_a_file_of_the_user_is_reported_with_file_and_line(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        source: str,
        problem: str,
    ) -> None:
        module = tmp_path / "library_of_mine.py"
        module.write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, module.stem, raising=False)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)

        with pytest.raises((SyntaxError, ModuleNotFoundError)) as raised:
            find_system(f"{module.stem}:shop")

        assert print_error(raised.value) == 2
        assert capsys.readouterr().err.startswith(f"✗ {module}, {problem}")
