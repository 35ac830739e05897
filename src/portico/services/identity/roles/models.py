from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from portico.kit.auth import EVERYTHING
from portico.kit.data import ExactText, Payload
from portico.services.identity.models import Table

ADMINISTRATOR = "administrator"
"""The role that holds every permission, in every system."""


class Role(Table):
    """A named set of permissions. `declared` ones are the system's and follow its declaration at each start."""

    __tablename__ = "roles"

    name: Mapped[str] = mapped_column(ExactText(64), primary_key=True)
    permissions: Mapped[list[str]] = mapped_column(Payload)
    declared: Mapped[bool]
    created_at: Mapped[datetime]

    @property
    def grants_everything(self) -> bool:
        return EVERYTHING in self.permissions
