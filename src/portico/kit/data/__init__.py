"""Data access: tables, repositories, the unit of work and the reader."""

from typing import TYPE_CHECKING

from portico.kit.foundation.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from portico.kit.data.failures import is_retryable_conflict, is_unavailable
    from portico.kit.data.group_commit import GroupCommit
    from portico.kit.data.grouped_work import Refuse, insert_or_refuse
    from portico.kit.data.kit_tables import event_log, outbox
    from portico.kit.data.paging import (
        InvalidCursor,
        Keyset,
        ListQuery,
        Slice,
        Window,
        count_rows,
        newest_first,
        slice_of_list,
    )
    from portico.kit.data.reader import Reader
    from portico.kit.data.repository import Repository
    from portico.kit.data.retry import RetryPolicy, is_transient, retry_transaction, run_transaction
    from portico.kit.data.statements import Statement, in_list, is_due
    from portico.kit.data.table import TableRules, identifier, revision
    from portico.kit.data.totals import COUNT_LIMIT
    from portico.kit.data.turns import write_together
    from portico.kit.data.types import ExactText, IdentifierNumber, IdentifierText, Instant, LongText, Payload, Sequence
    from portico.kit.data.unit_of_work import UnitOfWork, current_unit_of_work
    from portico.kit.data.upsert import insert_all_if_absent, insert_if_absent, insert_or_ignore
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "failures": "is_retryable_conflict is_unavailable",
            "group_commit": "GroupCommit",
            "grouped_work": "Refuse insert_or_refuse",
            "kit_tables": "event_log outbox",
            "paging": "InvalidCursor Keyset ListQuery Slice Window count_rows newest_first slice_of_list",
            "reader": "Reader",
            "repository": "Repository",
            "retry": "RetryPolicy is_transient retry_transaction run_transaction",
            "statements": "Statement in_list is_due",
            "table": "TableRules identifier revision",
            "totals": "COUNT_LIMIT",
            "turns": "write_together",
            "types": "ExactText IdentifierNumber IdentifierText Instant LongText Payload Sequence",
            "unit_of_work": "UnitOfWork current_unit_of_work",
            "upsert": "insert_all_if_absent insert_if_absent insert_or_ignore",
        },
    )

__all__ = [
    "COUNT_LIMIT",
    "ExactText",
    "GroupCommit",
    "IdentifierNumber",
    "IdentifierText",
    "Instant",
    "InvalidCursor",
    "Keyset",
    "ListQuery",
    "LongText",
    "Payload",
    "Reader",
    "Refuse",
    "Repository",
    "RetryPolicy",
    "Sequence",
    "Slice",
    "Statement",
    "TableRules",
    "UnitOfWork",
    "Window",
    "count_rows",
    "current_unit_of_work",
    "event_log",
    "identifier",
    "in_list",
    "insert_all_if_absent",
    "insert_if_absent",
    "insert_or_ignore",
    "insert_or_refuse",
    "is_due",
    "is_retryable_conflict",
    "is_transient",
    "is_unavailable",
    "newest_first",
    "outbox",
    "retry_transaction",
    "revision",
    "run_transaction",
    "slice_of_list",
    "write_together",
]
