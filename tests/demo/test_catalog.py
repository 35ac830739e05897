import subprocess
import sys

import pytest


@pytest.mark.slow
class TestDemoCatalog:
    def test_every_response_is_as_promised(self) -> None:
        walked = subprocess.run(
            [sys.executable, "-m", "portico", "demo", "catalog", "--products", "1000"],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

        assert "Every response is as promised" in walked.stdout, walked.stdout + walked.stderr
        assert walked.returncode == 0

    def test_a_system_that_does_not_run_is_reported(self) -> None:
        walked = subprocess.run(
            [sys.executable, "-m", "portico", "demo", "catalog", "--url", "http://127.0.0.1:1"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert walked.returncode == 1
        assert "Nothing responds at http://127.0.0.1:1" in walked.stdout
