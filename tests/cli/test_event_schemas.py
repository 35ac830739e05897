import subprocess
import sys
from pathlib import Path

from portico.testing.commands import environment

BEFORE = """
from portico.kit.messaging.event import Event

class TeaServed(Event, type="tea.served", version=1, aggregate="table"):
    table: str
"""


def freeze(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "portico.cli.event_schemas", "teahouse"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class TestEventSchemas:
    def test_schemas_of_a_teams_events_are_frozen_and_checked(self, tmp_path: Path) -> None:
        package = tmp_path / "teahouse"
        package.mkdir()
        (package / "__init__.py").write_text(BEFORE)

        first = freeze(tmp_path)
        (package / "__init__.py").write_text(BEFORE.replace("table: str", "table: str\n    cups: int"))
        broken = freeze(tmp_path)

        assert (first.returncode, first.stdout) == (0, "Froze tea.served.1.json\n")
        assert (package / "schemas" / "tea.served.1.json").exists()
        assert broken.returncode == 2
        assert "cups is added without a default" in broken.stderr
