import http.client
import signal
import socket
from pathlib import Path

import pytest
from tests.cli.running import LIBRARY, Addresses
from tests.support.smtp import Certificate

from portico.testing.commands import Command, eventually, fetch, on_a_free_port, run_portico


@pytest.fixture
def at() -> Addresses:
    return Addresses.of("gateway", "loans", "patience")


def run(folder: Path, part: str, at: Addresses, **variables: str) -> Command:
    home = folder / part
    home.mkdir()
    others = {f"{name.upper()}_SERVICE_URL": at[name] for name in ("loans", "patience")}
    port = str(at.ports[part])
    return Command(home, "run", part, "--system", LIBRARY, "--port", port, variables={**others, **variables})


def status_over_tls(port: int, path: str, certificate: Certificate) -> int:
    """Return the status of a response over TLS, if the server shows this certificate; 0 if there is none."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=certificate.for_client(), timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


class TestRun:
    def test_one_service_serves_alone(self, tmp_path: Path, at: Addresses) -> None:
        with run(tmp_path, "loans", at) as loans:
            loans.wait_for(at["loans"])

            assert fetch(at["loans"] + "/books") == (200, [])
            assert at["loans"] in loans.err
            assert loans.stop(signal.SIGINT) == 0

    def test_the_gateway_runs_alone(self, tmp_path: Path, at: Addresses) -> None:
        with (
            run(tmp_path, "loans", at) as loans,
            run(tmp_path, "patience", at) as patience,
            run(tmp_path, "gateway", at) as gateway,
        ):
            for name, part in (("loans", loans), ("patience", patience), ("gateway", gateway)):
                part.wait_for(at[name])

            assert fetch(at["gateway"] + "/books") == (200, [])
            assert gateway.stop() == 0

    def test_the_gateway_serves_https_and_notices_a_new_certificate(self, tmp_path: Path, at: Addresses) -> None:
        files = tmp_path / "gateway.crt", tmp_path / "gateway.key"
        first, second = Certificate(), Certificate()
        first.write(*files)
        tls = {"TLS_CERTIFICATE": str(files[0]), "TLS_KEY": str(files[1])}
        port = at.ports["gateway"]
        with run(tmp_path, "loans", at) as loans, run(tmp_path, "gateway", at, **tls) as gateway:
            loans.wait_for(at["loans"])
            eventually(lambda: status_over_tls(port, "/books", first) == 200, "the gateway")
            assert f"https://127.0.0.1:{port}" in gateway.err

            second.write(*files)

            eventually(lambda: status_over_tls(port, "/books", second) == 200, "the new certificate")
            assert status_over_tls(port, "/books", first) == 0
            assert gateway.stop() == 0

    def test_a_certificate_that_cannot_be_used_is_named(self, tmp_path: Path) -> None:
        absent = {"TLS_CERTIFICATE": "/nowhere/gateway.crt", "TLS_KEY": "/nowhere/gateway.key"}
        refused = run_portico(tmp_path, "run", "gateway", "--system", LIBRARY, *on_a_free_port(), variables=absent)

        assert refused.returncode == 2
        assert "/nowhere/gateway.crt" in refused.stderr
        assert "Traceback" not in refused.stderr

    def test_an_unknown_service_is_rejected_with_the_known_ones(self, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "run", "loan", "--system", LIBRARY)

        assert refused.returncode == 2
        assert "Did you mean loans? It has loans, patience." in refused.stderr

    def test_an_address_of_another_machine_is_rejected(self, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "run", "loans", "--system", LIBRARY, "--host", "203.0.113.7")

        assert refused.returncode == 2
        assert "203.0.113.7" in refused.stderr
        assert "Traceback" not in refused.stderr

    def test_secrets_are_checked_before_the_port_is_opened(self, tmp_path: Path) -> None:
        with socket.create_server(("", 0)) as taken:
            port = str(taken.getsockname()[1])
            refused = run_portico(tmp_path, "run", "loans", "--system", LIBRARY, "--host", "0.0.0.0", "--port", port)  # noqa: S104  it refuses

        assert refused.returncode == 2
        assert "SERVICE_SECRET" in refused.stderr
        assert "in use" not in refused.stderr

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        refused = run_portico(
            tmp_path, "run", "loans", "--system", LIBRARY, *on_a_free_port(), variables={"DATA_DIR": "/proc/nowhere"}
        )

        assert refused.returncode == 2
        assert "/proc/nowhere" in refused.stderr
        assert "DATA_DIR" in refused.stderr
        assert "Traceback" not in refused.stderr

    def test_mysql_without_a_database_per_service_is_rejected(self, tmp_path: Path) -> None:
        variables = {"DATABASE_URL": "mysql://portico:a-good-one@127.0.0.1/all"}

        refused = run_portico(tmp_path, "migrate", "status", "--system", LIBRARY, variables=variables)

        assert refused.returncode == 2
        assert "/{service}_db" in refused.stderr
