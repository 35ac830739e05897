"""The kit's own tables, in every service's database."""

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, UniqueConstraint

from portico.kit.data.table import NAMES
from portico.kit.data.types import ExactText, Instant, LongText, Payload, Sequence

metadata = MetaData(naming_convention=NAMES)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", ExactText(64), primary_key=True),  # SHA-256 of caller, route and key
    Column("fingerprint", String(64), nullable=False),
    Column("claimed_at", Instant(), nullable=False),
    Column("status", Integer),
    Column("headers", Payload),
    Column("body", LongText),
    Index(None, "claimed_at"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", ExactText(100), primary_key=True),
    Column("owner", ExactText(64), nullable=False),
    Column("until", Instant(), nullable=False),
)

NAME_LENGTH = 100  # characters of an event's type or a consumer's name
AGGREGATE_LENGTH = 100

outbox = Table(
    "outbox",
    metadata,
    Column("id", Sequence, primary_key=True, autoincrement=True),
    Column("event_id", ExactText(48), nullable=False),
    Column("type", ExactText(NAME_LENGTH), nullable=False),
    Column("aggregate", ExactText(AGGREGATE_LENGTH), nullable=False),
    Column("body", LongText, nullable=False),
    Column("occurred_at", Instant(), nullable=False),
    sqlite_autoincrement=True,  # an id never comes again: the event log goes on with the same ones
)
"""Events that are committed and not published yet."""

held_aggregates = Table(
    "held_aggregates",
    metadata,
    Column("aggregate", ExactText(AGGREGATE_LENGTH), primary_key=True),
    Column("until", Instant(), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", LongText, nullable=False),
)
"""What the broker refused an event about: its events wait, those about other things go on."""

event_log = Table(
    "event_log",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),  # as it was in the outbox
    Column("event_id", ExactText(48), nullable=False),
    Column("type", ExactText(NAME_LENGTH), nullable=False),
    Column("aggregate", ExactText(AGGREGATE_LENGTH), nullable=False),
    Column("body", LongText, nullable=False),
    Column("occurred_at", Instant(), nullable=False),
    Index(None, "occurred_at"),
    Index(None, "aggregate", "id"),
)
"""Events that were published, kept for EVENT_RETENTION so that they can be replayed."""

inbox = Table(
    "inbox",
    metadata,
    Column("consumer", ExactText(NAME_LENGTH), primary_key=True),
    Column("event_id", ExactText(255), primary_key=True),
    Column("handled_at", Instant(), nullable=False),
    Index(None, "handled_at"),
)
"""Which consumer handled which event."""

parked_events = Table(
    "parked_events",
    metadata,
    Column("id", Sequence, primary_key=True, autoincrement=True),
    Column("consumer", ExactText(NAME_LENGTH), nullable=False),
    Column("event_id", ExactText(255), nullable=False),
    Column("type", ExactText(NAME_LENGTH), nullable=False),
    Column("aggregate", ExactText(255), nullable=False),
    Column("body", LongText, nullable=False),
    Column("state", ExactText(10), nullable=False),  # waiting, dead
    Column("attempts", Integer, nullable=False),
    Column("next_at", Instant(), nullable=False),
    Column("cause", ExactText(NAME_LENGTH), nullable=False),  # a word: the type of the error
    Column("error", LongText, nullable=False),
    Column("parked_at", Instant(), nullable=False),
    UniqueConstraint("consumer", "event_id"),
    Index(None, "consumer", "state", "aggregate", "id"),
    Index(None, "state", "next_at"),
    sqlite_autoincrement=True,
)
"""Events that a consumer could not handle: waiting for another try, or for an earlier one of their aggregate, or dead."""
