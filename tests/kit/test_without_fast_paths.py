"""The suites of HTTP, data and brokers pass without the fast paths too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HTTP = [
    "tests/kit/http/test_boundary.py",
    "tests/kit/http/test_websockets.py",
    "tests/kit/http/test_event_streams.py",
]
DATA = ["tests/kit/data/test_engine.py", "tests/kit/data/test_statements.py", "tests/kit/data/test_unit_of_work.py"]
BROKERS = ["tests/kit/messaging/brokers/test_nats.py"]


class TestWithoutFastPaths:
    def test_requests_and_statements_work_on_sqlite(self) -> None:
        run_suites(HTTP[0], *DATA, "-k", "sqlite")

    @pytest.mark.slow
    def test_requests_statements_and_brokers_work_on_servers(self) -> None:
        run_suites(*HTTP[1:], *DATA, *BROKERS, "-k", "not sqlite")


def run_suites(*arguments: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COMPAT_FAST_PATHS": "none"}

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
