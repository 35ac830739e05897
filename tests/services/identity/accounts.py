"""Test support for identity: accounts that register, sign in and send requests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from portico.kit.auth.principal import UserId
from portico.kit.runtime.system import System
from portico.services.identity import service
from portico.testing.running_service import Answer, Caller, RunningService

PASSWORD = "correct horse battery"
ADMIN = "admin@example.com"

CHEAP_HASHING = {"IDENTITY_PASSWORD_PASSES": "1", "IDENTITY_PASSWORD_MEMORY_KIB": "64"}
VARIABLES = {**CHEAP_HASHING, "ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": PASSWORD}

ROLES = {"customer": ("products:write",), "auditor": ("audit:read", "users:read"), "clerk": ("roles:write",)}
SYSTEM = System(
    "catalog",
    "A system for a test",
    gateway=1,
    services={service: 1},
    roles=ROLES,
    default_role="customer",
)


@dataclass(frozen=True)
class Person(Caller):
    """A signed-in user."""

    user_id: UserId = field(default=UserId(""))
    access_token: str = ""
    refresh_token: str = ""


@dataclass(frozen=True)
class Identity:
    """Identity under test."""

    run: RunningService

    @property
    def anonymous(self) -> Caller:
        return self.run.anonymous

    def advance(self, seconds: float) -> None:
        self.run.clock.advance(seconds)

    async def register(self, email: str = "ada@example.com", **names: Any) -> UserId:
        """Register an account with the default password."""
        answer = await self.anonymous.post("/register", json={"email": email, "password": PASSWORD, **names})
        assert answer.status_code == 201, answer.content
        return UserId(answer.json()["user_id"])

    async def try_to_sign_in(
        self, email: str = "ada@example.com", password: str = PASSWORD, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return await self.anonymous.post("/login", json={"email": email, "password": password}, headers=headers)

    async def sign_in(self, email: str = "ada@example.com", password: str = PASSWORD) -> Person:
        """Sign in with an existing account."""
        answer = await self.try_to_sign_in(email, password)
        assert answer.status_code == 200, answer.content
        return self.person(answer.json())

    async def new_person(self, email: str = "ada@example.com") -> Person:
        """Register an account and sign in with it."""
        await self.register(email)
        return await self.sign_in(email)

    async def administrator(self) -> Person:
        return await self.sign_in(ADMIN)

    def person(self, tokens: Mapping[str, Any], user_id: str = "") -> Person:
        """Return the user with these tokens."""
        token = tokens["access_token"]
        anonymous = self.anonymous
        return Person(
            anonymous.channel,
            anonymous.service,
            {"authorization": f"Bearer {token}"},
            UserId(tokens.get("user", {}).get("user_id", user_id)),
            token,
            tokens.get("refresh_token", ""),
        )

    async def as_service(self, name: str = "identity") -> Caller:
        """Return a service, authenticated with its client credentials."""
        secret = self.run.context.secrets.service_secret.get_secret_value()
        answer = await self.form("/oauth/token", grant_type="client_credentials", client_id=name, client_secret=secret)
        assert answer.status_code == 200, answer.content
        return self.run.bearing(answer.json()["access_token"])

    async def form(self, path: str, headers: Mapping[str, str] | None = None, **fields: str) -> Answer:
        """Post a form."""
        sent = {"content-type": "application/x-www-form-urlencoded", **(headers or {})}
        return await self.anonymous.post(path, content=encoded(fields), headers=sent)

    async def reason(self, token: str) -> str | None:
        """Return why `token` is invalid, or None if it is valid."""
        answer = await self.anonymous.post("/validate-token", json={"token": token})
        assert answer.status_code == 200, answer.content
        reason: str | None = answer.json().get("reason")
        return reason

    async def audited(self, *actions: str) -> list[dict[str, Any]]:
        """Return the audit log entries with these actions, oldest first."""
        answer = await (await self.administrator()).get("/audit?limit=1000")
        assert answer.status_code == 200, answer.content
        return [entry for entry in reversed(answer.json()) if entry["action"] in actions]


def encoded(fields: Mapping[str, str]) -> bytes:
    return urlencode(fields).encode()
