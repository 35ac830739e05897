"""Who walks through a system."""

import secrets
from dataclasses import dataclass
from typing import Any, Self

from portico.demo.walkthrough import Walk


@dataclass
class Person:
    """Somebody with an account, or who is about to open one."""

    email: str
    password: str
    token: str = ""
    user_id: str = ""

    @classmethod
    def called(cls, name: str, mark: str) -> Self:
        """Somebody new; `mark` keeps those of one walk apart from those of another."""
        return cls(f"{name}.{mark}@example.com", secrets.token_urlsafe(16))

    @property
    def draft(self) -> dict[str, Any]:
        """What `POST /register` takes."""
        return {"email": self.email, "password": self.password, "name": self.email.split(".")[0].title()}

    def is_in(self, answer: dict[str, Any]) -> None:
        """Go by what `POST /login` answered from now on."""
        self.token = answer["access_token"]
        self.user_id = answer["user"]["user_id"]


async def sign_in(walk: Walk, person: Person) -> None:
    """Sign in. Raises NotAsItShouldBe."""
    draft = {"email": person.email, "password": person.password}
    person.is_in((await walk.call("POST", "/login", json=draft, quiet=True)).expect(200).json())
