from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from portico.cli import app


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    return CliRunner(env={"COLUMNS": "200", "DATABASE_URL": "postgresql://me:hunter2@db/shop", "SECRET_KEY": "hunter2"})


class TestConfig:
    def test_it_prints_what_is_in_force_and_from_where(self, run: CliRunner, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("ISSUER=https://id.example\n")

        printed = run.invoke(app, ["config"])

        assert printed.exit_code == 0
        lines = {line.split()[0]: line for line in printed.output.splitlines() if line.strip()}
        assert "postgresql://me:***@db/shop" in lines["DATABASE_URL"]
        assert "environment" in lines["DATABASE_URL"]
        assert ".env" in lines["ISSUER"]
        assert "default" in lines["RATE_LIMIT"]

    @pytest.mark.parametrize("options", [[], ["--json"], ["--changed"]])
    def test_no_secret_is_printed(self, run: CliRunner, options: list[str]) -> None:
        assert "hunter2" not in run.invoke(app, ["config", *options]).output

    def test_programs_get_json(self, run: CliRunner) -> None:
        rows = {row["name"]: row for row in orjson.loads(run.invoke(app, ["config", "--json"]).output)}

        assert rows["SECRET_KEY"] == {
            "name": "SECRET_KEY",
            "value": "***",
            "origin": "environment",
            "description": "Encrypts what rests: signing keys, stored answers",
        }
        assert rows["BODY_LIMIT"]["value"] == 1_048_576

    def test_defaults_can_be_left_out(self, run: CliRunner) -> None:
        rows = orjson.loads(run.invoke(app, ["config", "--json", "--changed"]).output)

        assert [row["name"] for row in rows] == ["DATABASE_URL", "SECRET_KEY"]

    def test_what_the_services_may_be_told_is_there_too(self, run: CliRunner) -> None:
        rows = {row["name"] for row in orjson.loads(run.invoke(app, ["config", "--json"]).output)}

        assert "ADMIN_EMAIL" in rows
