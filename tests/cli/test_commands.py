import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cli.in_process import run_here

from portico.testing.commands import Command, fetch, free_ports, run_portico

PASSWORD = "a long enough password"


def create(folder: Path, *arguments: str, password: str = PASSWORD) -> str:
    done = run_portico(folder, "users", "create", *arguments, entered=password + "\n")
    assert done.returncode == 0, done.stderr
    assert password not in done.stdout + done.stderr
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Identity:
    """A running identity whose users and keys were made by commands before it started.

    Args:
        folder: the working directory of the commands.
        address: where identity answers.
        created: what `users create` printed, in order.
        rotated: what `keys rotate` printed.
    """

    folder: Path
    address: str
    created: list[str]
    rotated: str

    def run(self, *arguments: str, entered: str = "") -> subprocess.CompletedProcess[str]:
        return run_portico(self.folder, *arguments, entered=entered)

    def sign_in(self, email: str, password: str = PASSWORD) -> Any:
        """Sign in; return the user."""
        body = {"email": email, "password": password}
        status, answer = fetch(f"{self.address}/login", method="POST", body=body)
        assert status == 200, answer
        return answer["user"]


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identity]:
    folder, (port,) = tmp_path_factory.mktemp("identity"), free_ports(1)
    created = [
        create(folder, "--email", "joe@example.com", "--name", "Joe"),
        create(folder, "--email", "boss@example.com", "--admin"),
        create(folder, "--email", "jane@example.com", "--verified"),
    ]
    rotated = run_portico(folder, "keys", "rotate")
    assert rotated.returncode == 0, rotated.stderr
    with Command(folder, "run", "identity", "--port", str(port)) as identity:
        identity.wait_for(f"http://127.0.0.1:{port}")
        yield Identity(folder, f"http://127.0.0.1:{port}", created, rotated.stdout)


@pytest.mark.slow
class TestUsersCreate:
    def test_a_created_user_can_sign_in(self, identity: Identity) -> None:
        boss, joe = identity.sign_in("boss@example.com"), identity.sign_in("joe@example.com")

        assert boss["roles"] == ["administrator"]
        assert joe["roles"] == ["customer"]
        assert joe["name"] == "Joe"

    def test_a_reset_token_sets_a_new_password(self, identity: Identity) -> None:
        issued = identity.run("users", "reset-password", "JANE@example.com")
        unknown = identity.run("users", "reset-password", "nobody@example.com")
        reset = {"token": issued.stdout.strip(), "password": "another long password"}
        status, _ = fetch(f"{identity.address}/auth/password-reset/confirm", method="POST", body=reset)

        assert (issued.returncode, status) == (0, 204)
        assert identity.sign_in("jane@example.com", "another long password")["email_verified"] is True
        assert unknown.returncode == 2
        assert "No active account has this email address." in unknown.stderr

    def test_the_first_command_prints_a_generated_administrator(self, identity: Identity) -> None:
        assert ["admin@example.com" in printed for printed in identity.created] == [True, False, False]

    def test_a_taken_email_is_rejected(self, identity: Identity) -> None:
        again = identity.run("users", "create", "--email", "joe@example.com", entered=PASSWORD)

        assert again.returncode == 2
        assert "Email already registered" in again.stderr

    @pytest.mark.parametrize(("password", "message"), [("short", "8 to 128 characters"), ("", "has no password")])
    def test_an_invalid_password_is_rejected(self, password: str, message: str, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "users", "create", "--email", "joe@example.com", entered=password)

        assert refused.returncode == 2
        assert message in refused.stderr

    def test_the_password_is_not_an_option(self, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "users", "create", "--email", "joe@example.com", "--password", PASSWORD)

        assert refused.returncode == 2


@pytest.mark.slow
class TestKeysRotate:
    def test_the_new_key_is_published_beside_the_old_one(self, identity: Identity) -> None:
        _, published = fetch(f"{identity.address}/.well-known/jwks.json")

        assert len(published["keys"]) == 2
        assert published["keys"][-1]["kid"] in identity.rotated

    def test_a_shared_secret_has_no_keys_to_rotate(self, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "keys", "rotate", variables={"JWT_ALGORITHM": "HS256"})

        assert refused.returncode == 2
        assert "JWT_SECRET" in refused.stderr


class TestOpenapi:
    def test_prints_the_document_of_a_system(self, tmp_path: Path) -> None:
        document = json.loads(run_here(tmp_path, "openapi", "catalog").stdout)

        assert {"/products", "/login"} <= document["paths"].keys()
        assert "/auth/revocations" not in document["paths"]  # for services only
        assert list(tmp_path.iterdir()) == []  # nothing was kept

    def test_prints_no_log_line_of_a_service(self, tmp_path: Path) -> None:
        printed = run_here(tmp_path, "openapi", "ticketing")  # bookings logs the key that it creates

        assert "/api/bookings" in json.loads(printed.stdout)["paths"]
        assert printed.stderr == ""

    def test_prints_the_document_of_a_service(self, tmp_path: Path) -> None:
        document = json.loads(run_portico(tmp_path, "openapi", "identity").stdout)

        assert "/auth/revocations" in document["paths"]
        assert "/products" not in document["paths"]


class TestSystems:
    def test_prints_services_and_ports(self, tmp_path: Path) -> None:
        printed = run_portico(tmp_path, "systems").stdout

        assert all(word in printed for word in ("catalog", "identity", "8000", "8001", "8002", "snake"))

    def test_a_misspelt_setting_is_reported_once(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("DATABSE_URL=postgresql://db/shop\n")

        assert run_here(tmp_path, "systems").stderr == (
            "! DATABSE_URL (.env) is not a setting and is ignored. Did you mean DATABASE_URL?\n"
        )


class TestAsyncapi:
    def test_prints_the_document_of_a_system_and_of_a_service(self, tmp_path: Path) -> None:
        system = json.loads(run_portico(tmp_path, "asyncapi", "commerce").stdout)
        service = json.loads(run_here(tmp_path, "asyncapi", "identity", "--system", "commerce").stdout)

        assert (system["asyncapi"], system["info"]["title"]) == ("3.0.0", "commerce")
        assert "identity.send.user.created.1" in system["operations"]
        assert service["info"]["title"] == "identity of commerce"
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_service_is_rejected(self, tmp_path: Path) -> None:
        refused = run_here(tmp_path, "asyncapi", "identiti")

        assert refused.returncode == 2
        assert "Did you mean identity?" in refused.stderr


@pytest.mark.slow
class TestClients:
    def test_a_client_is_created_listed_and_deleted(self, identity: Identity) -> None:
        def clients(*arguments: str) -> str:
            done = identity.run("clients", *arguments)
            assert done.returncode == 0, done.stderr
            return done.stdout

        created = clients("create", "The App", "--redirect-uri", "https://app.example/cb", "--confidential")
        (client_id,) = re.findall(r"client_id: (client_\w{26})", created)
        refused = identity.run("clients", "create", "App", "--redirect-uri", "http://app.example/")

        assert re.search(r"client_secret: \S{43}", created)
        assert clients("list") == f"{client_id}  confidential  The App  https://app.example/cb\n"
        assert (refused.returncode, "write https" in refused.stderr) == (2, True)
        clients("delete", client_id)
        assert clients("list") == ""
        assert identity.run("clients", "delete", client_id).returncode == 2
