from sqlalchemy.orm import DeclarativeBase

from portico.kit import TableRules


class Table(TableRules, DeclarativeBase):
    """Base of the tables of catalog."""
