"""The kit's own tables, in every service's database."""

from sqlalchemy import Column, Index, Integer, MetaData, String, Table

from portico.kit.data.table import NAMES
from portico.kit.data.types import ExactText, Instant, LongText, Payload

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
