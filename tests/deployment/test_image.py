"""Checks of the Dockerfile that need no build."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from portico.contracts.token_verification import verifier_of
from portico.kit.runtime import Host
from portico.kit.settings import Environment, SettingsError
from portico.systems.commerce import commerce

ROOT = Path(__file__).parents[2]
FILE = ROOT / "Dockerfile"


def instructions(name: str) -> list[str]:
    text = FILE.read_text().replace("\\\n", " ")
    return [line.removeprefix(name).strip() for line in text.splitlines() if line.startswith(name)]


class TestTheDockerfile:
    def test_passes_hadolint(self) -> None:
        checked = subprocess.run(
            [Path(sys.executable).with_name("hadolint"), FILE], capture_output=True, text=True, check=False
        )

        assert checked.returncode == 0, checked.stdout

    def test_installs_only_locked_dependencies(self) -> None:
        (install, wheel) = (each for each in instructions("RUN") if "pip" in each)

        assert "--require-hashes --requirement requirements.lock" in install
        assert all(
            "--no-index" in each for each in re.findall(r"pip\S* (?:--python \S+ )?install [^&]*", install + wheel)
        )

    def test_installs_what_the_wheel_requires_and_no_build_tools(self) -> None:
        (wheel,) = (each for each in instructions("RUN") if "pip wheel" in each)
        (run_time,) = re.findall(r"--python /opt/portico/bin/python install ([^&]*)", wheel)
        extras = re.search(r"^EXTRAS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

        assert "--find-links locked" in run_time
        assert "--no-deps" not in run_time  # only what is required, of all that is locked
        assert extras is not None
        assert f"[{','.join(extras[1].split())}]" in run_time

    def test_compiles_the_standard_library_and_the_packages(self) -> None:
        build, run_time = FILE.read_text().split("\nFROM python:3.12-slim-bookworm\n")

        assert "-m compileall -q /opt/portico/lib" in build
        assert "python -m compileall -q /usr/local/lib/python3.*" in run_time

    async def test_its_page_generates_the_secrets_that_it_requires(self) -> None:
        page = (ROOT / "docs" / "deployment.md").read_text()
        (command,) = re.findall(r"```sh\n(docker build.*?)```", page, re.DOTALL)
        host = Host(commerce, Environment({"HOST": "::"}), verifier_of=verifier_of)

        with pytest.raises(SettingsError) as raised:
            await host.__aenter__()

        required = {message.split()[0] for message in raised.value.messages}
        assert required == {"SECRET_KEY", "SERVICE_SECRET", "PAYMENTS_WEBHOOK_SECRET"}
        assert required <= set(re.findall(r"[A-Z_]+", command))
        assert "--env-file portico.env" in command

    def test_does_not_run_as_root(self) -> None:
        assert instructions("USER")[-1] == "10001:10001"

    def test_copies_only_the_installed_package_from_the_build_stage(self) -> None:
        assert len(instructions("FROM")) == 2
        assert [each for each in instructions("COPY") if "--from" in each] == ["--from=build /opt/portico /opt/portico"]

    def test_runs_on_a_python_that_the_package_allows(self) -> None:
        versions = {
            tuple(map(int, found.groups()))
            for each in instructions("FROM")
            if (found := re.match(r"python:(\d+)\.(\d+)-slim", each))
        }

        assert versions == {(3, 12)}

    @pytest.mark.parametrize("source", ["requirements.lock", "pyproject.toml", "README.md", "LICENSE", "src"])
    def test_the_build_context_contains_what_it_copies(self, source: str) -> None:
        copied = {word for each in instructions("COPY") for word in each.split()[:-1]}
        included = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]

        assert source in copied
        assert (ROOT / source).exists()
        assert any(fnmatch(source, each) for each in included)

    def test_the_build_context_contains_nothing_else(self) -> None:
        lines = (ROOT / ".dockerignore").read_text().splitlines()

        assert "*" in lines
        assert {line for line in lines if line.startswith("!")} == {
            "!requirements.lock",
            "!pyproject.toml",
            "!README.md",
            "!LICENSE",
            "!src",
        }
