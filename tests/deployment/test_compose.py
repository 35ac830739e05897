"""Checks of compose.yaml that need no container engine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.deployment.compose import FILE, GATEWAY, PORTS, interpolations, parts, services

from portico.contracts.token_verification import TokenSettings
from portico.kit.settings import Settings, variables_of
from portico.systems.commerce import commerce

SERVERS = {"postgresql", "redis", "rabbitmq"}


def port_of(text: str) -> int:
    found = re.search(r":(\d+)(?:/|$)", text)
    assert found, text
    return int(found[1])


def known_to(part: str) -> set[str]:
    """Return the variables that a process of `part` reads."""
    names = {name.upper() for name in Settings.model_fields}
    names |= {f"{each.name.upper()}_SERVICE_URL" for each in commerce.placements}
    names |= {variables_of(TokenSettings, name)[0] for name in TokenSettings.model_fields}  # each part verifies tokens
    if part != GATEWAY and (own := commerce.placement(part).service.settings) is not None:
        names |= {variables_of(own, name)[0] for name in own.model_fields}
    return names


@pytest.fixture(params=sorted(PORTS))
def part(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


class TestTheFile:
    def test_is_what_the_compose_specification_allows(self) -> None:
        checker = Path(sys.executable).with_name("check-jsonschema")

        checked = subprocess.run(
            [checker, "--builtin-schema", "vendor.compose-spec", FILE], capture_output=True, text=True, check=False
        )

        assert checked.returncode == 0, checked.stdout + checked.stderr

    def test_has_a_container_for_each_part_of_the_system(self) -> None:
        assert parts().keys() == PORTS.keys()
        assert services().keys() == PORTS.keys() | SERVERS | {"migrate"}

    def test_secrets_have_no_default(self) -> None:
        secret = re.compile("PASSWORD|SECRET|ADMIN|SMTP")
        kinds = {name: kind for name, kind in interpolations() if secret.search(name)}

        assert len(kinds) >= 7
        assert {name: kind for name, kind in kinds.items() if kind != "?"} == {}

    def test_keeps_all_data_on_volumes(self) -> None:
        assert {name for name, each in services().items() if each.get("volumes")} == SERVERS

    def test_waits_until_each_server_is_healthy(self) -> None:
        for name in SERVERS:
            assert services()[name]["healthcheck"]["test"]
        assert services()["migrate"]["depends_on"] == {"postgresql": {"condition": "service_healthy"}}


class TestAPart:
    def test_runs_itself(self, part: str) -> None:
        assert parts()[part]["command"] == ["run", part]

    def test_gets_only_variables_that_it_reads(self, part: str) -> None:
        assert parts()[part]["environment"].keys() <= known_to(part)

    def test_gets_the_addresses_of_the_services_that_it_calls(self, part: str) -> None:
        variables = parts()[part]["environment"]
        called = list(PORTS) if part == GATEWAY else commerce.placement(part).service.calls

        for name in set(called) - {GATEWAY}:
            assert variables[f"{name.upper()}_SERVICE_URL"] == f"http://{name}:{PORTS[name]}"

    def test_gets_only_the_secrets_that_it_needs(self, part: str) -> None:
        needed = {"service_secret"} if part == GATEWAY else set(commerce.placement(part).service.secrets)
        secrets = {"service_secret", "secret_key", "payments_webhook_secret"}
        if part == "payments":
            needed.add("payments_webhook_secret")

        assert {name.lower() for name in parts()[part]["environment"]} & secrets == needed

    def test_health_check_uses_its_port(self, part: str) -> None:
        test = parts()[part]["healthcheck"]["test"]

        assert test[:-1] == ["CMD", "python", "-m", "portico.kit.runtime.probe"]
        assert test[-1] == f"http://127.0.0.1:{PORTS[part]}/health/ready"

    def test_runs_with_minimal_privileges(self, part: str) -> None:
        container = parts()[part]

        assert container["read_only"] is True
        assert container["cap_drop"] == ["ALL"]
        assert container["security_opt"] == ["no-new-privileges:true"]
        assert "user" not in container  # the image sets a user that is not root

    def test_starts_after_the_migrations(self, part: str) -> None:
        needs: dict[str, Any] = parts()[part]["depends_on"]

        assert part == GATEWAY or needs["migrate"] == {"condition": "service_completed_successfully"}
        assert needs["redis"] == {"condition": "service_healthy"}

    def test_only_the_gateway_publishes_a_port(self, part: str) -> None:
        published = parts()[part].get("ports", [])

        assert [port_of(each) for each in published] == ([PORTS[GATEWAY]] if part == GATEWAY else [])
        if part not in {GATEWAY, "notifications"}:  # notifications sends mail to an external server
            assert "outside" not in parts()[part]["networks"]
