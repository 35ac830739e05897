"""The accounts of a walkthrough."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from portico.demo.walkthrough import Walk


@dataclass
class Account:
    """An account, which may not be registered yet. It has a token once it is signed in."""

    email: str
    password: str
    token: str = ""
    user_id: str = ""

    @classmethod
    def new(cls, name: str, suffix: str) -> Self:
        """Return a new account; `suffix` makes it differ from those of other walkthroughs."""
        return cls(f"{name}.{suffix}@example.com", secrets.token_urlsafe(16))

    @property
    def name(self) -> str:
        return self.email.split(".")[0].title()

    @property
    def draft(self) -> dict[str, Any]:
        """The body of `POST /register`."""
        return {"email": self.email, "password": self.password, "name": self.name}


async def sign_in(walk: Walk, account: Account) -> None:
    """Sign in. Raises ExpectationFailed."""
    session = await walk.client().sign_in(account.email, account.password)
    account.token, account.user_id = session.token, session.user_id


async def sign_up(walk: Walk, names: Sequence[str], suffix: str) -> list[Account]:
    """Register an account for each name, and sign in. Raises ExpectationFailed."""
    accounts = [Account.new(name, suffix) for name in names]
    for account in accounts:
        (await walk.call("POST", "/register", json=account.draft)).expect(201, email=account.email)
        await sign_in(walk, account)
    return accounts
