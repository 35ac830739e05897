"""Tables of the kit, in every service's database."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, UniqueConstraint

from portico.kit.data.table import NAMES
from portico.kit.data.types import ExactText, IdentifierText, Instant, LongText, Payload, Sequence

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
    sqlite_autoincrement=True,  # ids are never reused, because the event log uses the same ids
)
"""Events that are committed and not yet published."""

blocked_aggregates = Table(
    "blocked_aggregates",
    metadata,
    Column("aggregate", ExactText(AGGREGATE_LENGTH), primary_key=True),
    Column("event_id", ExactText(48), nullable=False),  # the rejected event
    Column("until", Instant(), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", LongText, nullable=False),
)
"""Aggregates with an event that the broker rejected. Their later events wait; events of others are published."""

event_log = Table(
    "event_log",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),  # the id it had in the outbox
    Column("event_id", ExactText(48), nullable=False),
    Column("type", ExactText(NAME_LENGTH), nullable=False),
    Column("aggregate", ExactText(AGGREGATE_LENGTH), nullable=False),
    Column("body", LongText, nullable=False),
    Column("occurred_at", Instant(), nullable=False),
    Index(None, "occurred_at"),
    Index(None, "aggregate", "id"),
)
"""Published events, kept for EVENT_RETENTION so that they can be replayed."""

inbox = Table(
    "inbox",
    metadata,
    Column("consumer", ExactText(NAME_LENGTH), primary_key=True),
    Column("event_id", ExactText(255), primary_key=True),
    Column("handled_at", Instant(), nullable=False),
    Index(None, "handled_at"),
)
"""Events that each consumer has handled."""

failed_events = Table(
    "failed_events",
    metadata,
    Column("id", Sequence, primary_key=True, autoincrement=True),
    Column("kind", ExactText(16), nullable=False),  # handler_failed, unreadable, not_publishable
    Column("consumer", ExactText(NAME_LENGTH), nullable=False),  # empty unless kind is handler_failed
    Column("event_id", ExactText(255), nullable=False),
    Column("type", ExactText(NAME_LENGTH), nullable=False),
    Column("aggregate", ExactText(255), nullable=False),
    Column("body", LongText, nullable=False),
    Column("state", ExactText(10), nullable=False),  # waiting, dead
    Column("attempts", Integer, nullable=False),
    Column("next_at", Instant(), nullable=False),
    Column("cause", ExactText(NAME_LENGTH), nullable=False),  # a problem's code or an exception's name
    Column("error", LongText, nullable=False),
    Column("failed_at", Instant(), nullable=False),
    UniqueConstraint("kind", "consumer", "event_id"),
    Index(None, "consumer", "state", "aggregate", "id"),
    Index(None, "state", "next_at"),
    sqlite_autoincrement=True,
)
"""Events that failed: a handler raised, the message was unreadable, or the broker rejected the event.

They wait for a retry or for an earlier event of their aggregate, or are dead letters."""

sagas = Table(
    "sagas",
    metadata,
    Column("saga_id", IdentifierText(), primary_key=True),
    Column("name", ExactText(64), nullable=False),
    Column("subject", ExactText(64), nullable=False),
    Column("state", LongText, nullable=False),
    Column("status", ExactText(8), nullable=False),  # running, undoing, done, undone
    Column("step", ExactText(64), nullable=False),  # the current step; empty if only the finalizer is left
    Column("done", String(1000), nullable=False),  # names of the steps to undo, oldest first
    Column("attempts", Integer, nullable=False),  # of this step, that were started
    Column("failures", Integer, nullable=False),  # of this step, consecutive
    Column(
        "in_doubt", Boolean, nullable=False
    ),  # an attempt of this step may have had an effect without a known outcome
    Column("skip", Boolean, nullable=False),  # an operator requested to skip the step
    Column("undo_reason", LongText),  # why it is undone, or will be
    Column("error", String(500)),  # of the last attempt
    Column("owner", ExactText(32)),  # the runner that holds the lease
    Column(
        "fence", Integer, nullable=False
    ),  # fencing token: increases with every claim and step; a write with an older one is rejected
    Column("due_at", Instant()),  # of the next attempt, or the end of the lease; NULL once it ended
    Column("step_started_at", Instant()),  # when the first attempt of this step started
    Column("deadline_at", Instant(), nullable=False),
    Column("started_at", Instant(), nullable=False),
    Column("ended_at", Instant()),
    Column("trace", String(64)),
    Column("request_id", String(128)),
    Index(None, "due_at"),
    Index(None, "subject"),
    Index(None, "ended_at"),
)
"""Sagas, each with its progress."""

saga_steps = Table(
    "saga_steps",
    metadata,
    Column("entry_id", Sequence, primary_key=True, autoincrement=True),
    Column("saga_id", IdentifierText(), nullable=False),
    Column("step", ExactText(64), nullable=False),
    Column("action", ExactText(8), nullable=False),  # do, undo, end, cancel, retry, skip
    Column("attempt", Integer, nullable=False),
    Column("outcome", ExactText(20), nullable=False),  # see `Outcome`; lost, requested
    Column("started_at", Instant(), nullable=False),
    Column("ended_at", Instant(), nullable=False),
    Column("error", String(500)),
    Column("actor", ExactText(64)),
    Index(None, "saga_id"),
)
"""Timeline of sagas: attempts of steps, and requests about sagas."""
