"""Identity and catalog as processes, on the databases of a test."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico.testing.commands import Command, fetch, free_ports
from portico.testing.databases import Databases

ADMIN = {"email": "admin@example.com", "password": secrets.token_urlsafe(24)}


def settings_for(databases: Databases) -> dict[str, str]:
    """Return settings of the catalog system with these databases and fast password hashing."""
    return {
        "PORTICO_SYSTEM": "catalog",
        "DATABASE_URL": databases.per_service(),
        "SECRET_KEY": secrets.token_urlsafe(48),
        "SERVICE_SECRET": secrets.token_urlsafe(48),
        "PAYMENTS_WEBHOOK_SECRET": secrets.token_urlsafe(48),
        "ADMIN_EMAIL": ADMIN["email"],
        "ADMIN_PASSWORD": ADMIN["password"],
        "IDENTITY_PASSWORD_PASSES": "1",
        "IDENTITY_PASSWORD_MEMORY_KIB": "64",
    }


@dataclass
class Pair:
    """Identity and catalog, a process each."""

    folder: Path
    variables: Mapping[str, str]
    ports: dict[str, int] = field(
        default_factory=lambda: dict(zip(("identity", "catalog"), free_ports(2), strict=True))
    )
    commands: dict[str, Command] = field(default_factory=dict)

    def __getitem__(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def start(self, service: str) -> None:
        """Start `service` with its migrations, and wait until it is healthy."""
        variables = {**self.variables, "IDENTITY_SERVICE_URL": self["identity"]}
        folder = self.folder / service
        folder.mkdir(exist_ok=True)
        command = Command(folder, "run", service, "--port", str(self.ports[service]), "--migrate", variables=variables)
        self.commands[service] = command
        command.wait_for(self[service])

    def sign_in(self, email: str, password: str) -> dict[str, str]:
        """Sign in; return the authorization header."""
        status, answer = fetch(self["identity"] + "/login", method="POST", body={"email": email, "password": password})
        assert status == 200, answer
        return {"authorization": f"Bearer {answer['access_token']}"}

    def post(self, service: str, path: str, body: Any, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """POST `body` to a service."""
        return fetch(self[service] + path, method="POST", body=body, headers=headers)


@contextmanager
def pair(folder: Path, databases: Databases) -> Iterator[Pair]:
    """Both services, running."""
    both = Pair(folder, settings_for(databases))
    try:
        both.start("identity")
        both.start("catalog")
        yield both
    finally:
        for command in both.commands.values():
            command.__exit__(None, None, None)
