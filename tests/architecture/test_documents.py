"""What the documents show is run as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.tutorial import follow_tutorial

from portico.cli.deploy_files import deploy_files
from portico.cli.reference import with_tables

ROOT = Path(__file__).parents[2]


class TestTutorial:
    def test_its_code_passes_its_tests(self, tmp_path: Path) -> None:
        shop = follow_tutorial(tmp_path)

        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not TestDocument"],
            cwd=shop,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

        assert "15 passed" in run.stdout, run.stdout + run.stderr


class TestLinks:
    def test_every_page_that_is_pointed_to_is_there(self) -> None:
        pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
        missing = [
            f"{page.relative_to(ROOT)}: {target}"
            for page in pages
            for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text("utf-8"))
            if not (page.parent / target).exists()
        ]
        assert missing == []


class TestConfiguration:
    def test_its_tables_are_those_of_the_settings(self) -> None:
        page = (ROOT / "docs/configuration.md").read_text("utf-8")

        assert page == with_tables(page), "run `make generate`"


class TestDeploy:
    def test_its_files_are_what_is_exported(self) -> None:
        folder = ROOT / "deploy"
        found = {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*.*")}

        assert found == deploy_files(), "run `make generate`"
