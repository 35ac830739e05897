from sqlalchemy.orm import DeclarativeBase

from portico.kit import TableRules


class Table(TableRules, DeclarativeBase):
    """The tables of catalog."""
