"""The catalog system as `portico up` runs it."""

import json
import re
import signal
import socket
from pathlib import Path

import psutil
import pytest
from tests.cli.running import Addresses, up
from tests.journeys.systems import settings_for

from portico.testing.commands import COMMAND_TIMEOUT, Command, eventually, fetch
from portico.testing.databases import Databases

PARTS = ("gateway", "identity", "catalog")
JANE = {"email": "jane@example.com", "password": "a long enough password"}
LAMP = {"name": "A lamp", "price": 12.5, "category": "lamps", "sku": "LAMP-1"}


@pytest.fixture
def at() -> Addresses:
    return Addresses.of(*PARTS)


def told_administrator(system: Command) -> tuple[str, str] | None:
    found = re.search(r"First administrator: (\S+)\s+password: (\S+)", system.err)
    return None if found is None else (found[1], found[2])


def sign_in(at: Addresses, email: str, password: str) -> dict[str, str]:
    status, answer = fetch(at["gateway"] + "/login", method="POST", body={"email": email, "password": password})
    assert status == 200, answer
    return {"authorization": f"Bearer {answer['access_token']}"}


def add_a_product(at: Addresses) -> None:
    assert fetch(at["gateway"] + "/register", method="POST", body=JANE)[0] == 201
    jane = sign_in(at, JANE["email"], JANE["password"])
    status, lamp = fetch(at["gateway"] + "/products", method="POST", body=LAMP, headers=jane)
    assert status == 201, lamp
    for name in ("gateway", "catalog"):
        assert fetch(f"{at[name]}/products/{lamp['product_id']}")[1]["sku"] == "LAMP-1"
    count_its_stock(at, lamp["product_id"], jane)


def count_its_stock(at: Addresses, product_id: str, jane: dict[str, str]) -> None:
    inventory, counted = f"{at['gateway']}/inventory", {"quantity": 3, "reason": "counted"}
    path = f"{inventory}/{product_id}"
    assert fetch(f"{path}/adjustments", method="POST", body=counted, headers=jane)[0] == 201
    assert fetch(path)[1]["available"] == fetch(f"{at['gateway']}/products/{product_id}")[1]["stock_quantity"] == 3
    assert fetch(f"{path}/transactions", headers=jane)[1][0]["reason"] == "counted"
    reservation = f"{inventory}/reservations/rsv_00000000000000000000000000"
    assert fetch(reservation, method="DELETE", headers=jane)[0] == 404, "services alone reserve, past the gateway"


LOGIN = (
    b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Expect: 100-continue\r\n\r\n"
)


def stopping(system: Command) -> bool:
    """Return whether a gateway has begun to stop."""
    lines = [json.loads(line) for line in system.out.splitlines() if line.startswith("{")]
    return any(line["event"] == "stopping" and line["service"] == "gateway" for line in lines)


@pytest.mark.slow
class TestCatalog:
    @pytest.mark.parametrize("options", [[], ["--split"]], ids=["together", "split"])
    @pytest.mark.parametrize("verification", ["ask", "keys"])
    def test_a_user_registers_and_adds_a_product(
        self, options: list[str], verification: str, tmp_path: Path, at: Addresses
    ) -> None:
        with up(tmp_path, "catalog", at, *options, variables={"TOKEN_VERIFICATION": verification}) as system:
            system.wait_for(at["gateway"])

            add_a_product(at)

            assert system.stop() == 0

    @pytest.mark.parametrize("options", [[], ["--split"]], ids=["together", "split"])
    def test_the_first_administrators_password_is_printed_once(
        self, options: list[str], tmp_path: Path, at: Addresses
    ) -> None:
        with up(tmp_path, "catalog", at, *options) as system:
            system.wait_for(at["gateway"])
            email, password = eventually(lambda: told_administrator(system), "the administrator")
            administrator = sign_in(at, email, password)
            assert fetch(at["gateway"] + "/users", headers=administrator)[0] == 200
            assert password not in system.out
            system.stop()

        again = tmp_path / "again"
        again.mkdir()
        with up(again, "catalog", at, *options, variables={"DATA_DIR": str(tmp_path / ".portico")}) as system:
            eventually(lambda: "Ctrl-C" in system.err, "the addresses")
            assert told_administrator(system) is None

    def test_several_workers_share_servers(
        self, postgresql_databases: Databases, redis_url: str, tmp_path: Path
    ) -> None:
        at = Addresses.of(*PARTS)
        variables = {**settings_for(postgresql_databases), "REDIS_URL": redis_url}

        with up(tmp_path, "catalog", at, "--workers", "2", variables=variables) as system:
            system.wait_for(at["gateway"])
            eventually(lambda: "Ctrl-C" in system.err, "the addresses")

            assert [len(system.workers(part, at.ports[part])) for part in PARTS] == [2, 2, 2]
            add_a_product(at)
            assert system.stop() == 0

    def test_gateways_that_share_a_port_replace_one_another_and_finish_their_requests(
        self, postgresql_databases: Databases, redis_url: str, tmp_path: Path
    ) -> None:
        at = Addresses.of(*PARTS)
        variables = {**settings_for(postgresql_databases), "REDIS_URL": redis_url, "LOG_FORMAT": "json"}
        with up(tmp_path, "catalog", at, "--workers", "2", variables=variables) as system:
            system.wait_for(at["gateway"])
            eventually(lambda: "Ctrl-C" in system.err, "the addresses")
            first, second = system.workers("gateway", at.ports["gateway"])

            for killed in (first, second):
                killed.kill()
                psutil.wait_procs([killed])
                assert [fetch(at["gateway"] + "/products")[0] for _ in range(10)] == [200] * 10
            eventually(lambda: len(system.workers("gateway", at.ports["gateway"])) == 2, "both gateways")
            assert not {first, second} & {*system.workers("gateway", at.ports["gateway"])}

            with socket.create_connection(("127.0.0.1", at.ports["gateway"])) as client:
                body = json.dumps({"email": JANE["email"], "password": "wrong"}).encode()
                client.sendall(LOGIN % len(body))
                assert client.recv(1024).startswith(b"HTTP/1.1 100 ")
                system.process.send_signal(signal.SIGTERM)
                eventually(lambda: stopping(system), "the signal at a gateway")
                client.sendall(body)
                assert client.recv(1024).startswith(b"HTTP/1.1 401 ")
            assert system.process.wait(COMMAND_TIMEOUT) == 0

    def test_a_well_known_secret_is_rejected_on_a_public_address(self, tmp_path: Path, at: Addresses) -> None:
        variables = {"HOST": "0.0.0.0", "SECRET_KEY": "changeme"}  # noqa: S104 it does not come to that

        with up(tmp_path, "catalog", at, variables=variables) as system:
            assert system.process.wait(30) == 2
            assert "SECRET_KEY is the secret of an example" in system.err
