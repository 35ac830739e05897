"""`portico new`: what it writes, and what it refuses. Nothing is written when a command is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.running import Addresses

from portico.cli.project import Project
from portico.cli.scaffold.project import new_project
from portico.cli.scaffold.service import new_resource, new_service
from portico.kit.foundation.errors import CommandError
from portico.testing.commands import Command, eventually, fetch, run_portico

ROOT = Path(__file__).parents[3]


def project(folder: Path) -> Project:
    found = Project.at(folder)
    assert found is not None
    return found


def add_service(folder: Path, name: str, *, singular: str | None = None, role: str = "staff") -> None:
    new_service(project(folder), name, singular=singular, role=role).write()


def add_resource(folder: Path, name: str, *, service: str | None = None) -> None:
    new_resource(project(folder), name, service=service, singular=None, role="staff").write()


def run(folder: Path, *arguments: str) -> str:
    """Run a Python module in the project. Return its output."""
    sources = os.pathsep.join([str(folder / "src"), str(ROOT / "src")])
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": sources, "MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_in(folder: Path) -> dict[Path, str]:
    return {path: path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The folder of a project without services of its own."""
    folder = tmp_path / "shop"
    new_project("shop", folder).write()
    return folder


class TestProject:
    def test_is_the_system_that_commands_use_in_its_folder(self, shop: Path) -> None:
        shown = run_portico(shop, "run", "nothing")

        assert "The system shop has no service 'nothing'. It has identity, catalog." in shown.stderr

    @pytest.mark.parametrize(
        "arguments",
        [["run", "items"], ["up"], ["up", "--reload"], ["migrate", "status"], ["new", "service", "items"]],
    )
    def test_is_not_mistaken_for_a_shipped_system_in_a_folder_inside_it(self, arguments: list[str], shop: Path) -> None:
        refused = run_portico(shop / "src", *arguments)

        assert refused.returncode == 2
        assert f"The project is in {shop}.\n  Run the command there: cd {shop}" in refused.stderr

    def test_is_shown_with_the_shipped_systems(self, shop: Path) -> None:
        shown = run_portico(shop, "systems")

        assert "shop: Shop" in shown.stdout
        assert "commerce: " in shown.stdout

    def test_has_commands_in_its_readme_that_can_be_copied(self, shop: Path) -> None:
        lines = (shop / "README.md").read_text("utf-8").splitlines()

        assert any(line.startswith("pip install --editable '.[dev]' ") for line in lines)

    def test_gives_way_to_the_environment_variable(self, shop: Path) -> None:
        shown = run_portico(shop, "run", "nothing", variables={"PORTICO_SYSTEM": "commerce"})

        assert "The system commerce has no service 'nothing'" in shown.stderr

    def test_a_folder_with_files_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("Keep me")

        with pytest.raises(CommandError, match="is not an empty folder"):
            new_project("shop", tmp_path)

    @pytest.mark.parametrize("name", ["Shop", "my-shop", "2shops", "class", "json", "portico", "a" * 21, ""])
    def test_a_name_that_python_cannot_import_is_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match=r"cannot name a project|is the name of an installed module"):
            new_project(name, tmp_path / "new")


class TestService:
    def test_passes_its_tests_and_checks(self, shop: Path) -> None:
        add_service(shop, "items")
        add_resource(shop, "brands")

        assert "16 passed" in run(shop, "pytest", "-q", "-p", "no:cacheprovider", "-k", "not TestDocument")
        run(shop, "ruff", "check")
        run(shop, "ruff", "format", "--check")

    @pytest.mark.slow
    def test_passes_type_checks_and_fuzzing(self, shop: Path) -> None:
        add_service(shop, "items")
        add_resource(shop, "brands")

        assert "2 passed" in run(shop, "pytest", "-q", "-p", "no:cacheprovider", "-k", "TestDocument")
        run(shop, "mypy")

    @pytest.mark.slow
    def test_is_served_behind_the_gateway(self, shop: Path) -> None:
        add_service(shop, "items")
        at = Addresses.of("gateway", "identity", "catalog", "items")
        account = {"email": "ada@example.com", "password": "correct horse battery"}
        variables = {"ADMIN_EMAIL": account["email"], "ADMIN_PASSWORD": account["password"]}

        with Command(shop, "up", *at.options, variables=variables) as up:
            up.wait_for(at["gateway"])
            eventually(lambda: "Ctrl-C" in up.err, "the addresses")
            token = fetch(at["gateway"] + "/login", method="POST", body=account)[1]["access_token"]
            headers = {"authorization": f"Bearer {token}"}
            status, created = fetch(at["gateway"] + "/items", method="POST", body={"name": "Lamp"}, headers=headers)

            assert status == 201
            assert fetch(at["gateway"] + "/items") == (200, [created])
            assert fetch(at["items"] + "/items") == (200, [created])

    @pytest.mark.slow
    def test_up_reports_tables_that_no_migration_creates(self, shop: Path) -> None:
        add_service(shop, "items")
        models = shop / "src/shop/services/items/models.py"
        models.write_text(models.read_text().replace("    revision:", "    weight: Mapped[int | None]\n    revision:"))

        with Command(shop, "up", "--free-ports") as up:
            eventually(lambda: "Ctrl-C" in up.err, "the addresses")

            assert "The migrations of items do not create items as declared." in up.err
            assert 'portico migrate new items "' in up.err

    def test_does_not_start_with_a_consumer_that_is_not_declared(self, shop: Path) -> None:
        add_service(shop, "items")
        declaration = shop / "src/shop/services/items/__init__.py"
        declaration.write_text(
            declaration.read_text().replace("consumers=[consumers.clear_creator_of_items]", "consumers=[]")
        )

        refused = run_portico(shop, "up", "--free-ports")

        assert refused.returncode == 2
        assert "shop.services.items.consumers.clear_creator_of_items (add it to `consumers`)" in refused.stderr

    def test_gets_the_next_free_port_from_9000(self, shop: Path) -> None:
        for name in ("items", "suppliers"):
            add_service(shop, name)

        system = (shop / "src/shop/systems.py").read_text()

        assert "items: 9000," in system
        assert "suppliers: 9001," in system

    def test_lets_the_chosen_role_write(self, shop: Path) -> None:
        add_service(shop, "items", role="customer")

        assert '"customer": ["items:write"]' in (shop / "src/shop/systems.py").read_text()

    @pytest.mark.parametrize("name", ["purchase_categories", "boxes", "bs", "employees"])
    def test_is_formatted_whatever_its_name(self, name: str, shop: Path) -> None:
        add_service(shop, name)
        add_resource(shop, "order_addresses")

        run(shop, "ruff", "check")
        run(shop, "ruff", "format", "--check")

    def test_takes_a_singular_that_cannot_be_derived(self, shop: Path) -> None:
        add_service(shop, "people", singular="person")

        assert "class PersonId(" in (shop / "src/shop/contracts/people.py").read_text()

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("Items", "cannot name a service"),
            ("class", "is a Python keyword"),
            ("catalog", "is the name of a part that Portico brings"),
            ("gateway", "is the name of a part that Portico brings"),
            ("shop", "is the name of the project's system"),
            ("people", "The singular of 'people' is unknown"),
            ("pages", "would define a class Page"),
            ("classes", "'class' is a Python keyword"),
        ],
    )
    def test_a_name_that_cannot_be_used_is_refused(self, name: str, message: str, shop: Path) -> None:
        with pytest.raises(CommandError, match=message):
            add_service(shop, name)

    def test_a_service_that_exists_is_refused(self, shop: Path) -> None:
        add_service(shop, "items")

        with pytest.raises(CommandError, match="The service items exists already"):
            add_service(shop, "items")

    def test_a_system_that_is_written_in_another_way_is_left_alone(self, shop: Path) -> None:
        system = shop / "src/shop/systems.py"
        system.write_text(system.read_text().replace("    roles={", "    roles=ROLES or {"))
        before = files_in(shop)

        with pytest.raises(CommandError, match="cannot be edited") as refused:
            add_service(shop, "items")

        assert "from shop.services.items import service as items" in str(refused.value.advice)
        assert files_in(shop) == before

    def test_a_role_that_the_system_lacks_is_refused(self, shop: Path) -> None:
        with pytest.raises(CommandError, match='"editor" in'):
            add_service(shop, "items", role="editor")

    def test_a_system_that_is_not_valid_python_is_refused(self, shop: Path) -> None:
        (shop / "src/shop/systems.py").write_text("shop = System(")

        with pytest.raises(CommandError, match=r"not valid Python.*line 1"):
            add_service(shop, "items")


class TestResource:
    def test_needs_a_service(self, shop: Path) -> None:
        with pytest.raises(CommandError, match="The project has no services"):
            add_resource(shop, "brands")

    def test_asks_which_of_several_services(self, shop: Path) -> None:
        for name in ("items", "suppliers"):
            add_service(shop, name)

        with pytest.raises(CommandError, match="The project has 2 services: items, suppliers"):
            add_resource(shop, "brands")

        add_resource(shop, "brands", service="suppliers")
        assert (shop / "src/shop/services/suppliers/brands/api.py").is_file()

    @pytest.mark.parametrize("name", ["items", "brands", "consumers"])
    def test_one_that_exists_is_refused(self, name: str, shop: Path) -> None:
        add_service(shop, "items")
        add_resource(shop, "brands")

        with pytest.raises(CommandError, match=f"The service items has {name} already"):
            add_resource(shop, name)

    def test_of_an_unknown_service_is_refused(self, shop: Path) -> None:
        with pytest.raises(CommandError, match="The project has no service 'nothing'"):
            add_resource(shop, "brands", service="nothing")


class TestCommand:
    def test_writes_a_project_and_a_service(self, tmp_path: Path) -> None:
        created = run_portico(tmp_path, "new", "project", "shop")
        added = run_portico(tmp_path / "shop", "new", "service", "items")

        assert "created src/shop/systems.py" in created.stdout
        assert "changed src/shop/systems.py" in added.stdout

    def test_outside_a_project_is_refused(self, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "new", "service", "items")

        assert refused.returncode == 2
        assert "portico new project shop" in refused.stderr

    def test_below_the_folder_of_a_project_is_refused(self, shop: Path) -> None:
        refused = run_portico(shop / "src", "new", "service", "items")

        assert refused.returncode == 2
        assert f"cd {shop}" in refused.stderr

    @pytest.mark.parametrize("text", ["[tool", '[tool.portico]\nsystem = "shop"', "[tool]\nportico = 1"])
    def test_an_unusable_project_file_is_refused(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text(text)

        with pytest.raises(CommandError, match=r"pyproject\.toml"):
            Project.at(tmp_path)
