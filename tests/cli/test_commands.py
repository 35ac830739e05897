import json
import re
from pathlib import Path

import pytest

from portico.testing.commands import Command, fetch, free_ports, run_portico

PASSWORD = "a long enough password"


def create(folder: Path, *arguments: str, password: str = PASSWORD) -> str:
    done = run_portico(folder, "users", "create", *arguments, entered=password + "\n")
    assert done.returncode == 0, done.stderr
    assert password not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
class TestUsersCreate:
    def test_a_created_user_can_sign_in(self, tmp_path: Path) -> None:
        create(tmp_path, "--email", "boss@example.com", "--admin")
        create(tmp_path, "--email", "joe@example.com", "--name", "Joe")
        (port,) = free_ports(1)
        address = f"http://127.0.0.1:{port}"

        with Command(tmp_path, "run", "identity", "--port", str(port)) as identity:
            identity.wait_for(address)
            _, boss = fetch(address + "/login", method="POST", body={"email": "boss@example.com", "password": PASSWORD})
            _, joe = fetch(address + "/login", method="POST", body={"email": "joe@example.com", "password": PASSWORD})

        assert boss["user"]["roles"] == ["administrator"]
        assert joe["user"]["roles"] == ["customer"]
        assert joe["user"]["name"] == "Joe"

    def test_a_reset_token_sets_a_new_password(self, tmp_path: Path) -> None:
        create(tmp_path, "--email", "joe@example.com", "--verified")
        (port,) = free_ports(1)
        address = f"http://127.0.0.1:{port}"

        issued = run_portico(tmp_path, "users", "reset-password", "JOE@example.com")
        unknown = run_portico(tmp_path, "users", "reset-password", "jane@example.com")
        with Command(tmp_path, "run", "identity", "--port", str(port)) as identity:
            identity.wait_for(address)
            reset = {"token": issued.stdout.strip(), "password": "another long password"}
            status, _ = fetch(address + "/auth/password-reset/confirm", method="POST", body=reset)
            joe = {"email": "joe@example.com", "password": "another long password"}
            _, signed_in = fetch(address + "/login", method="POST", body=joe)

        assert (issued.returncode, status) == (0, 204)
        assert signed_in["user"]["email_verified"] is True
        assert unknown.returncode == 2
        assert "No active account has this email address." in unknown.stderr

    def test_the_first_command_prints_a_generated_administrator(self, tmp_path: Path) -> None:
        assert "admin@example.com" in create(tmp_path, "--email", "joe@example.com")
        assert "admin@example.com" not in create(tmp_path, "--email", "jane@example.com")

    def test_a_taken_email_is_rejected(self, tmp_path: Path) -> None:
        create(tmp_path, "--email", "joe@example.com")

        again = run_portico(tmp_path, "users", "create", "--email", "joe@example.com", entered=PASSWORD)

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
    def test_the_new_key_is_published_beside_the_old_one(self, tmp_path: Path) -> None:
        (port,) = free_ports(1)
        address = f"http://127.0.0.1:{port}"
        create(tmp_path, "--email", "joe@example.com")

        rotated = run_portico(tmp_path, "keys", "rotate")

        with Command(tmp_path, "run", "identity", "--port", str(port)) as identity:
            identity.wait_for(address)
            _, published = fetch(address + "/.well-known/jwks.json")
        assert rotated.returncode == 0
        assert len(published["keys"]) == 2
        assert published["keys"][-1]["kid"] in rotated.stdout

    def test_a_shared_secret_has_no_keys_to_rotate(self, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "keys", "rotate", variables={"JWT_ALGORITHM": "HS256"})

        assert refused.returncode == 2
        assert "JWT_SECRET" in refused.stderr


class TestOpenapi:
    def test_prints_the_document_of_a_system(self, tmp_path: Path) -> None:
        document = json.loads(run_portico(tmp_path, "openapi", "catalog").stdout)

        assert {"/products", "/login"} <= document["paths"].keys()
        assert "/auth/revocations" not in document["paths"]  # for services only
        assert list(tmp_path.iterdir()) == []  # nothing was kept

    def test_prints_the_document_of_a_service(self, tmp_path: Path) -> None:
        document = json.loads(run_portico(tmp_path, "openapi", "identity").stdout)

        assert "/auth/revocations" in document["paths"]
        assert "/products" not in document["paths"]


class TestSystems:
    def test_prints_services_and_ports(self, tmp_path: Path) -> None:
        printed = run_portico(tmp_path, "systems").stdout

        assert all(word in printed for word in ("catalog", "identity", "8000", "8001", "8002", "snake"))


class TestAsyncapi:
    def test_prints_the_document_of_a_system_and_of_a_service(self, tmp_path: Path) -> None:
        system = json.loads(run_portico(tmp_path, "asyncapi", "commerce").stdout)
        service = json.loads(run_portico(tmp_path, "asyncapi", "identity", "--system", "commerce").stdout)

        assert (system["asyncapi"], system["info"]["title"]) == ("3.0.0", "commerce")
        assert "identity.send.user.created.1" in system["operations"]
        assert service["info"]["title"] == "identity of commerce"
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_service_is_rejected(self, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "asyncapi", "identiti")

        assert refused.returncode == 2
        assert "Did you mean identity?" in refused.stderr


@pytest.mark.slow
class TestClients:
    def test_a_client_is_created_listed_and_deleted(self, tmp_path: Path) -> None:
        def clients(*arguments: str) -> str:
            done = run_portico(tmp_path, "clients", *arguments)
            assert done.returncode == 0, done.stderr
            return done.stdout

        created = clients("create", "The App", "--redirect-uri", "https://app.example/cb", "--confidential")
        (client_id,) = re.findall(r"client_id: (client_\w{26})", created)
        refused = run_portico(tmp_path, "clients", "create", "App", "--redirect-uri", "http://app.example/")

        assert re.search(r"client_secret: \S{43}", created)
        assert clients("list") == f"{client_id}  confidential  The App  https://app.example/cb\n"
        assert (refused.returncode, "write https" in refused.stderr) == (2, True)
        clients("delete", client_id)
        assert clients("list") == ""
        assert run_portico(tmp_path, "clients", "delete", client_id).returncode == 2
