"""`portico up --reload`: what changed is restarted; the rest goes on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from portico.cli.project import Project
from portico.cli.scaffold.project import new_project
from portico.cli.scaffold.service import new_service
from portico.testing.commands import Command, eventually, fetch, run_portico

SERVICE = Path("src/shop/services/items")


def add_service(folder: Path, name: str) -> None:
    project = Project.at(folder)
    assert project is not None
    new_service(project, name, singular=None, role="staff").write()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The folder of a project with the service items."""
    folder = tmp_path / "shop"
    new_project("shop", folder).write()
    add_service(folder, "items")
    return folder


@contextmanager
def reloading(folder: Path, *options: str) -> Iterator[tuple[Command, str]]:
    """Run `portico up --reload`. Yield the command and the gateway's address."""
    with Command(folder, "up", "--reload", "--free-ports", *options) as up:
        eventually(lambda: "Ctrl-C" in up.err, "the addresses")
        address = re.search(r"gateway +(http\S+)", up.err)
        assert address is not None
        yield up, address[1]


def replace(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def answers(address: str, status: int) -> bool:
    try:
        return fetch(address)[0] == status
    except OSError:
        return False  # the process that had accepted the connection was stopped


@pytest.mark.slow
class TestReload:
    def test_serves_the_changed_code(self, shop: Path) -> None:
        with reloading(shop) as (up, gateway):
            assert fetch(gateway + "/items") == (200, [])

            replace(shop / SERVICE / "api.py", 'prefix="/items"', 'prefix="/things"')

            eventually(lambda: answers(gateway + "/things", 200), "the new path")
            assert answers(gateway + "/items", 404)
            assert f"Changed: {SERVICE}/api.py" in up.err

            replace(shop / SERVICE / "models.py", "    revision:", "    weight: Mapped[int | None]\n    revision:")

            eventually(lambda: "The migrations of items do not create items as declared." in up.err, "the report")
            assert 'portico migrate new items "' in up.err
            assert up.err.count("do not create") == 1
            assert up.stop() == 0

    def test_waits_for_a_correction_after_an_error(self, shop: Path) -> None:
        with reloading(shop) as (up, gateway):
            replace(shop / SERVICE / "api.py", "router = Router(", "router = = Router(")
            eventually(lambda: "Waiting for a change" in up.err, "the error")
            assert f"{SERVICE}/api.py, line" in up.err
            assert "SyntaxError: invalid syntax" in up.err

            replace(shop / SERVICE / "api.py", "router = = Router(", "router = Router(")

            eventually(lambda: "Restarted the system" in up.err, "the restart")
            assert fetch(gateway + "/items") == (200, [])
            assert up.stop() == 0

    def test_serves_a_service_that_is_added(self, shop: Path) -> None:
        with reloading(shop) as (_up, gateway):
            assert answers(gateway + "/suppliers", 404)

            add_service(shop, "suppliers")

            eventually(lambda: answers(gateway + "/suppliers", 200), "the new service")

    def test_starts_after_an_error_is_corrected(self, shop: Path) -> None:
        replace(shop / SERVICE / "api.py", "router = Router(", "router = Rooter(")
        with Command(shop, "up", "--reload", "--free-ports") as up:
            eventually(lambda: "Waiting for a change" in up.err, "the error")
            assert "NameError: name 'Rooter' is not defined" in up.err

            replace(shop / SERVICE / "api.py", "Rooter(", "Router(")

            eventually(lambda: "Ctrl-C" in up.err, "the addresses")

    def test_with_split_only_the_changed_service_and_the_gateway_are_restarted(self, shop: Path) -> None:
        (shop / SERVICE / "consumers.py").unlink()  # without consumers, several processes need no broker
        replace(shop / SERVICE / "__init__.py", "    consumers=[consumers.clear_creator_of_items],\n", "")
        replace(shop / SERVICE / "__init__.py", "api, consumers, models", "api, models")
        with reloading(shop, "--split") as (up, gateway):
            before = {child.pid for child in up.children}

            replace(shop / SERVICE / "api.py", 'prefix="/items"', 'prefix="/things"')

            eventually(lambda: "Restarted items" in up.err and "Restarted gateway" in up.err, "the restarts")
            assert fetch(gateway + "/things") == (200, [])
            after = {child.pid for child in up.children}
            assert len(after & before) == 2
            assert len(after - before) == 2

    def test_ends_its_processes_when_it_is_killed(self, shop: Path) -> None:
        with reloading(shop) as (up, _gateway):
            children = up.children

            up.kill()

            _, alive = psutil.wait_procs(children, timeout=30)
            assert alive == []


class TestOptions:
    @pytest.mark.parametrize("option", [["--servers"], ["--workers", "2"]], ids=["servers", "workers"])
    def test_that_cannot_be_combined_are_refused(self, option: list[str], tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "up", "catalog", "--reload", *option)

        assert refused.returncode == 2
        assert "--reload cannot be combined" in refused.stderr


class TestErrors:
    def test_in_the_project_name_the_file_and_the_line(self, shop: Path) -> None:
        replace(shop / SERVICE / "models.py", "class Item(Table):", "class Item(Tabel):")

        failed = run_portico(shop, "migrate", "status")

        assert failed.returncode == 2
        assert f"{SERVICE}/models.py, line" in failed.stderr
        assert "NameError: name 'Tabel' is not defined" in failed.stderr
        assert "Traceback" not in failed.stderr
