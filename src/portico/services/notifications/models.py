from sqlalchemy.orm import DeclarativeBase

from portico.kit.data import TableRules


class Table(TableRules, DeclarativeBase):
    """Base of the tables of notifications."""
