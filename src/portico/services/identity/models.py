from sqlalchemy import BigInteger
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from portico.kit import TableRules
from portico.kit.data import ExactText


class Table(TableRules, DeclarativeBase):
    """Base of identity's tables."""


class SingletonRow(Table):
    """A row that stands for something of which there is one: who changes it locks its row first.

    `number` counts where there is something to count. The migration makes the rows; nobody adds any.
    """

    __tablename__ = "latches"

    name: Mapped[str] = mapped_column(ExactText(40), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, default=0)


ADMINISTRATORS = "administrators"
FEED = "feed"
KEYS = "keys"
