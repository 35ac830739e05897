"""Checks of the compose files that need no container engine."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.deployment.compose import FILES, GATEWAY, ComposeFile

from portico.contracts.token_settings import TokenSettings
from portico.kit import Service
from portico.kit.settings import Settings, variables_of

SERVERS = {"postgresql", "redis", "rabbitmq"}


@dataclass(frozen=True)
class Part:
    """A container of the gateway or of a service."""

    file: ComposeFile
    name: str

    @property
    def container(self) -> dict[str, Any]:
        return self.file.parts[self.name]

    @property
    def port(self) -> int:
        return self.file.ports[self.name]

    @property
    def service(self) -> Service | None:
        """The service that it runs. The gateway runs none."""
        return None if self.name == GATEWAY else self.file.system.placement(self.name).service


def port_of(text: str) -> int:
    found = re.search(r":(\d+)(?:/|$)", text)
    assert found, text
    return int(found[1])


def known_to(file: ComposeFile, part: str) -> set[str]:
    """Return the variables that a process of `part` reads."""
    names = {name.upper() for name in Settings.model_fields}
    names |= {f"{each.name.upper()}_SERVICE_URL" for each in file.system.placements}
    names |= {variables_of(TokenSettings, name)[0] for name in TokenSettings.model_fields}  # each part verifies tokens
    if part != GATEWAY and (own := file.system.placement(part).service.settings) is not None:
        names |= {variables_of(own, name)[0] for name in own.model_fields}
    return names


@pytest.fixture(params=sorted(FILES))
def file(request: pytest.FixtureRequest) -> ComposeFile:
    return FILES[request.param]


@pytest.fixture(params=[(system, name) for system, file in FILES.items() for name in sorted(file.ports)], ids="-".join)
def part(request: pytest.FixtureRequest) -> Part:
    system, name = request.param
    return Part(FILES[system], name)


class TestTheFile:
    def test_is_what_the_compose_specification_allows(self, file: ComposeFile) -> None:
        checker = Path(sys.executable).with_name("check-jsonschema")

        checked = subprocess.run(
            [checker, "--builtin-schema", "vendor.compose-spec", file.path], capture_output=True, text=True, check=False
        )

        assert checked.returncode == 0, checked.stdout + checked.stderr

    def test_has_a_container_for_each_part_of_the_system(self, file: ComposeFile) -> None:
        assert file.parts.keys() == file.ports.keys()
        assert file.services.keys() == file.ports.keys() | SERVERS | {"migrate"}

    def test_secrets_have_no_default(self, file: ComposeFile) -> None:
        secret = re.compile("PASSWORD|SECRET|ADMIN|SMTP")
        kinds = {name: kind for name, kind in file.interpolations() if secret.search(name)}

        assert len(kinds) >= 7
        assert {name: kind for name, kind in kinds.items() if kind != "?"} == {}

    def test_keeps_all_data_on_volumes(self, file: ComposeFile) -> None:
        assert {name for name, each in file.services.items() if each.get("volumes")} == SERVERS

    def test_waits_until_each_server_is_healthy(self, file: ComposeFile) -> None:
        for name in SERVERS:
            assert file.services[name]["healthcheck"]["test"]
        assert file.services["migrate"]["depends_on"] == {"postgresql": {"condition": "service_healthy"}}


class TestAPart:
    def test_runs_itself(self, part: Part) -> None:
        assert part.container["command"] == ["run", part.name]

    def test_gets_only_variables_that_it_reads(self, part: Part) -> None:
        assert part.container["environment"].keys() <= known_to(part.file, part.name)

    def test_gets_the_addresses_of_the_services_that_it_calls(self, part: Part) -> None:
        variables, system = part.container["environment"], part.file.system
        calls = None if part.service is None else {*part.service.calls, *part.service.optional_calls}
        called = [each for each in system.placements if calls is None or each.service.name in calls]

        assert called or not calls
        for each in called:
            assert variables[f"{each.name.upper()}_SERVICE_URL"] == f"http://{each.name}:{each.port}"

    def test_gets_only_the_secrets_that_it_needs(self, part: Part) -> None:
        needed = {"service_secret"} if part.service is None else set(part.service.secrets)
        secrets = {"service_secret", "secret_key", "payments_webhook_secret"}
        if part.name == "payments":
            needed.add("payments_webhook_secret")

        assert {name.lower() for name in part.container["environment"]} & secrets == needed

    def test_health_check_uses_its_port(self, part: Part) -> None:
        test = part.container["healthcheck"]["test"]

        assert test[:-1] == ["CMD", "python", "-m", "portico.kit.runtime.probe"]
        assert test[-1] == f"http://127.0.0.1:{part.port}/health/ready"

    def test_runs_with_minimal_privileges(self, part: Part) -> None:
        container = part.container

        assert container["read_only"] is True
        assert container["cap_drop"] == ["ALL"]
        assert container["security_opt"] == ["no-new-privileges:true"]
        assert "user" not in container  # the image sets a user that is not root

    def test_starts_after_the_migrations(self, part: Part) -> None:
        needs: dict[str, Any] = part.container["depends_on"]

        assert part.name == GATEWAY or needs["migrate"] == {"condition": "service_completed_successfully"}
        assert needs["redis"] == {"condition": "service_healthy"}

    def test_only_the_gateway_publishes_a_port(self, part: Part) -> None:
        published = part.container.get("ports", [])

        assert [port_of(each) for each in published] == ([part.port] if part.name == GATEWAY else [])
        if part.name not in {GATEWAY, "notifications"}:  # notifications sends mail to an external server
            assert "outside" not in part.container["networks"]
