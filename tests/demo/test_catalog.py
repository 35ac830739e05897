import subprocess
import sys

import pytest


@pytest.mark.slow
class TestDemoCatalog:
    def test_all_of_it_is_as_it_should_be(self) -> None:
        walked = subprocess.run(
            [sys.executable, "-m", "portico", "demo", "catalog", "--products", "1000"],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

        assert "All of it is as it should be" in walked.stdout, walked.stdout + walked.stderr
        assert walked.returncode == 0

    def test_a_system_that_is_not_there_fails_loudly(self) -> None:
        walked = subprocess.run(
            [sys.executable, "-m", "portico", "demo", "catalog", "--url", "http://127.0.0.1:1"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert walked.returncode == 1
        assert "Nobody answers at http://127.0.0.1:1" in walked.stdout
