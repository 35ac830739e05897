import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from portico.kit.runtime.probe import is_healthy
from portico.testing.commands import free_ports


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Do not log."""

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/health/ready"
        finally:
            server.shutdown()
            thread.join()


class TestIsHealthy:
    @pytest.mark.parametrize(("status", "is_well"), [(200, True), (503, False), (404, False)])
    def test_true_for_status_200(self, status: int, is_well: bool) -> None:  # noqa: FBT001 an example
        with answering(status) as address:
            assert is_healthy(address) is is_well

    def test_false_without_a_response(self) -> None:
        (port,) = free_ports(1)

        assert not is_healthy(f"http://127.0.0.1:{port}/")


class TestCommand:
    @pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (503, 1)])
    def test_exit_status_is_the_result(self, status: int, exit_status: int) -> None:
        with answering(status) as address:
            done = subprocess.run(
                [sys.executable, "-m", "portico.kit.runtime.probe", address],
                check=False,
                env={"PYTHONPATH": ":".join(sys.path)},
            )

        assert done.returncode == exit_status
