from sqlalchemy.orm import DeclarativeBase

from portico.kit.data import TableRules


class Table(TableRules, DeclarativeBase):
    """The tables of payments."""
