"""Tables, repositories, the unit of work and the reader: what a service needs of a relational database."""

from portico.kit.data.paging import InvalidCursor, Keyset, Slice, Window
from portico.kit.data.reader import Reader
from portico.kit.data.repository import Repository
from portico.kit.data.table import TableRules, identifier, revision
from portico.kit.data.types import ExactText, Instant, LongText, Payload, Sequence
from portico.kit.data.unit_of_work import UnitOfWork

__all__ = [
    "ExactText",
    "Instant",
    "InvalidCursor",
    "Keyset",
    "LongText",
    "Payload",
    "Reader",
    "Repository",
    "Sequence",
    "Slice",
    "TableRules",
    "UnitOfWork",
    "Window",
    "identifier",
    "revision",
]
