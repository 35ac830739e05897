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
    def test_prints_each_setting_with_its_origin(self, run: CliRunner, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("PUBLIC_URL=https://id.example\n")

        printed = run.invoke(app, ["config"])

        assert printed.exit_code == 0
        lines = {line.split()[0]: line for line in printed.output.splitlines() if line.strip()}
        assert "postgresql://me:***@db/shop" in lines["DATABASE_URL"]
        assert "environment" in lines["DATABASE_URL"]
        assert ".env" in lines["PUBLIC_URL"]
        assert "default" in lines["RATE_LIMIT"]

    def test_a_misspelt_setting_is_reported_beside_the_output(self, run: CliRunner, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("ORDER_LIVE_POLL=3\n")

        printed = run.invoke(app, ["config", "--json"])

        assert printed.stderr == (
            "! ORDER_LIVE_POLL (.env) is not a setting and is ignored. Did you mean ORDERS_LIVE_POLL?\n"
        )
        assert orjson.loads(printed.stdout)

    @pytest.mark.parametrize("options", [[], ["--json"], ["--changed"]])
    def test_no_secret_is_printed(self, run: CliRunner, options: list[str]) -> None:
        assert "hunter2" not in run.invoke(app, ["config", *options]).output

    def test_json_for_programs(self, run: CliRunner) -> None:
        rows = {row["name"]: row for row in orjson.loads(run.invoke(app, ["config", "--json"]).output)}

        assert rows["SECRET_KEY"] == {
            "name": "SECRET_KEY",
            "value": "***",
            "origin": "environment",
            "description": "Secret that encrypts stored signing keys and stored responses",
        }
        assert rows["BODY_LIMIT"]["value"] == 1_048_576

    def test_changed_omits_defaults(self, run: CliRunner) -> None:
        rows = orjson.loads(run.invoke(app, ["config", "--json", "--changed"]).output)

        assert [row["name"] for row in rows] == ["DATABASE_URL", "SECRET_KEY"]

    def test_includes_the_services_settings(self, run: CliRunner) -> None:
        rows = {row["name"] for row in orjson.loads(run.invoke(app, ["config", "--json"]).output)}

        assert {"ADMIN_EMAIL", "ORDERS_LIVE_POLL", "SMTP_URL"} <= rows
