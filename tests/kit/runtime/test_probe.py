import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from portico.kit.runtime.probe import well
from portico.testing.commands import free_ports


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/health/ready"
        finally:
            server.shutdown()
            thread.join()


class TestWell:
    @pytest.mark.parametrize(("status", "is_well"), [(200, True), (503, False), (404, False)])
    def test_is_what_answers_with_200(self, status: int, is_well: bool) -> None:  # noqa: FBT001 an example
        with answering(status) as address:
            assert well(address) is is_well

    def test_is_nobody_who_does_not_answer(self) -> None:
        (port,) = free_ports(1)

        assert not well(f"http://127.0.0.1:{port}/")


class TestTheCommand:
    @pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (503, 1)])
    def test_tells_by_its_exit_status(self, status: int, exit_status: int) -> None:
        with answering(status) as address:
            done = subprocess.run(
                [sys.executable, "-m", "portico.kit.runtime.probe", address],
                check=False,
                env={"PYTHONPATH": ":".join(sys.path)},
            )

        assert done.returncode == exit_status
