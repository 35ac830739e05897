"""All processes of a compose file, started with its commands and environment, on servers of the test."""

import secrets
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.cli.running import Addresses
from tests.deployment.compose import FILES, GATEWAY, ComposeFile, filled_in

from portico.kit.runtime.probe import is_healthy
from portico.servers import RabbitMQServer
from portico.testing.commands import Command, eventually, fetch, run_portico
from portico.testing.databases import Databases

START_TIMEOUT = 120.0  # seconds, for the concurrent processes of a system
ADMIN = {"email": "admin@shop.example", "password": secrets.token_urlsafe(24)}
OUTSIDE = {
    "ADMIN_EMAIL": ADMIN["email"],
    "ADMIN_PASSWORD": ADMIN["password"],
    "SMTP_URL": "smtp://shop:a-good-one@mail.shop.example:587",
    "NOTIFICATIONS_MAIL_FROM": "Shop <orders@shop.example>",
    **{
        name: secrets.token_hex(32)
        for name in (
            *("SECRET_KEY", "SERVICE_SECRET", "PAYMENTS_WEBHOOK_SECRET"),
            *("POSTGRES_PASSWORD", "REDIS_PASSWORD", "RABBITMQ_PASSWORD"),
        )
    },
}


@pytest.fixture
def servers(postgresql_databases: Databases, redis_url: str, rabbitmq_server: RabbitMQServer) -> dict[str, str]:
    """The addresses of the servers that the file runs as containers."""
    return {
        "DATABASE_URL": postgresql_databases.fresh(),
        "REDIS_URL": redis_url,
        "RABBITMQ_URL": rabbitmq_server.url(),
    }


def environment(file: ComposeFile, container: str, servers: dict[str, str], at: Addresses) -> dict[str, str]:
    """Return the environment of a container, with the addresses of the test's servers and processes."""
    variables = {name: filled_in(value, OUTSIDE) for name, value in file.services[container]["environment"].items()}
    here = servers | {f"{name.upper()}_SERVICE_URL": at[name] for name in file.ports}
    # As in the image, except for DATA_DIR: nothing may be written there.
    image = {"HOST": "0.0.0.0", "DATA_DIR": "/proc/nowhere"}  # noqa: S104  # as in the image
    return image | {name: here.get(name, variables[name]) for name in variables}


@pytest.mark.slow
class TestTheWhole:
    @pytest.mark.parametrize("file", FILES.values(), ids=FILES)
    def test_serves_with_the_environment_of_the_file(
        self, file: ComposeFile, servers: dict[str, str], tmp_path: Path
    ) -> None:
        at = Addresses.of(*file.ports)
        (command, *arguments) = file.services["migrate"]["command"]
        migrated = run_portico(tmp_path, command, *arguments, variables=environment(file, "migrate", servers, at))
        assert migrated.returncode == 0, migrated.stderr

        with ExitStack() as stack:
            processes = {}
            for name, part in file.parts.items():
                (folder := tmp_path / name).mkdir()
                words = [*part["command"], "--port", str(at.ports[name])]
                processes[name] = stack.enter_context(
                    Command(folder, *words, variables=environment(file, name, servers, at))
                )
            for name, part in file.parts.items():
                address = part["healthcheck"]["test"][-1].replace(
                    f"127.0.0.1:{file.ports[name]}", f"127.0.0.1:{at.ports[name]}"
                )
                eventually(lambda: is_healthy(address), f"{name}: {processes[name].err}", START_TIMEOUT)  # noqa: B023  # called at once

            status, signed_in = fetch(at[GATEWAY] + f"{file.system.prefix}/login", method="POST", body=ADMIN)
            health = fetch(at[GATEWAY] + "/health")
            stopped = {name: process.stop() for name, process in processes.items()}

        assert (status, signed_in["user"]["roles"]) == (200, ["administrator"])
        assert health == (200, health[1])
        assert all(health[1]["services"].values())
        assert stopped == dict.fromkeys(file.ports, 0)
