from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from tests.examples.loans import service

from portico.kit import Service
from portico.kit.runtime.declaration_check import Undeclared, check_declarations, unused_permissions
from portico.kit.runtime.shipped_systems import shipped_systems
from portico.kit.runtime.system_loader import find_system
from portico.testing.databases import Databases
from portico.testing.running_service import run_service


class TestCheckDeclarations:
    @pytest.mark.parametrize("name", shipped_systems())
    def test_passes_for_the_shipped_services(self, name: str) -> None:
        services = {each.name: each for each in find_system(name).services}
        for each in services.values():
            check_declarations(each, services)

    def test_names_the_router_that_is_not_declared(self) -> None:
        books = service.routers[1]
        partial = replace(service, routers=[each for each in service.routers if each is not books])

        with pytest.raises(Undeclared, match=r"tests\.examples\.loans\.\w+\.books \(add it to `routers`\)"):
            check_declarations(partial)

    def test_names_the_saga_that_is_not_declared(self) -> None:
        with pytest.raises(Undeclared, match=r"saga\.lend_for_deposit \(add it to `sagas`\)"):
            check_declarations(replace(service, sagas=[]))

    @pytest.mark.parametrize("argument", ["consumers", "jobs"])
    def test_names_the_consumer_or_job_that_is_not_declared(self, argument: str) -> None:
        notifications = next(each for each in find_system("commerce").services if each.name == "notifications")

        with pytest.raises(Undeclared, match=rf"portico\.services\.notifications\..*\(add it to `{argument}`\)"):
            check_declarations(replace(notifications, **{argument: []}))

    @pytest.mark.parametrize(
        ("name", "argument", "lacking"),
        [
            ("orders", "publishes", r"portico\.services\.orders\.\w+ uses OrderCancelled \(add it to `publishes`\)"),
            ("identity", "publishes", r"uses UserDeleted \(add it to `publishes`\)"),
            ("payments", "optional_calls", r'uses OrdersClient \(add "orders" to `calls`\)'),
            ("orders", "calls", r'uses PaymentsClient \(add "payments" to `calls`\)'),
        ],
    )
    def test_names_the_event_or_client_that_is_used_and_not_declared(
        self, name: str, argument: str, lacking: str
    ) -> None:
        services = {each.name: each for each in find_system("commerce").services}

        with pytest.raises(Undeclared, match=lacking):
            check_declarations(replace(services[name], **{argument: []}), services)

    def test_ignores_a_service_whose_module_is_not_a_package(self) -> None:
        assert hasattr(import_module("tests.cli.systems"), "router")

        check_declarations(Service(name="patience", summary="Waits", module="tests.cli.systems"))

    def test_ignores_a_service_derived_under_another_name(self) -> None:
        check_declarations(replace(service, name="twins", routers=[]))


class TestUnusedPermissions:
    @pytest.mark.parametrize("name", shipped_systems())
    def test_shipped_systems_have_none(self, name: str) -> None:
        assert unused_permissions(find_system(name)) == []

    def test_a_misspelt_permission_is_reported(self) -> None:
        commerce = replace(find_system("commerce"), roles={"staff": ["users:read", "prodcts:write"], "all": ["*"]})

        [warning] = unused_permissions(commerce)

        assert warning == (
            "The role staff has the permission prodcts:write, which no service of commerce requires. "
            "Did you mean products:write?"
        )


class TestHost:
    async def test_does_not_start_with_an_undeclared_router(self, sqlite_databases: Databases) -> None:
        with pytest.raises(Undeclared):
            async with run_service(replace(service, routers=[]), sqlite_databases):
                pass


class TestUnimportedModules:
    def test_are_checked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = tmp_path / "borrowing"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "api.py").write_text("from portico.kit import Router\nrouter = Router()\n")
        (package / "smtp.py").write_text("raise ImportError\n")
        monkeypatch.syspath_prepend(str(tmp_path))

        with pytest.raises(Undeclared, match=r"borrowing\.api\.router \(add it to `routers`\)"):
            check_declarations(Service(name="borrowing", summary="Borrows", module="borrowing"))
