"""Documents, two index slots, and rebuilds."""

import sqlalchemy as sa
from alembic import op

from portico.contracts.events import ShowId
from portico.kit.data import ExactText, IdentifierNumber, IdentifierText, Instant, Payload
from portico.services.search.models import RebuildId

revision = "0001"
down_revision = None

_TEXTS = {
    "sqlite": [
        "CREATE VIRTUAL TABLE texts_{slot} USING fts5(event_name, venue_name, description, tokenize='ascii', prefix='1 2 3')"
    ],
    "postgresql": [
        "CREATE TABLE texts_{slot} (show_id BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
        # A list of pending rows would be read by each search, and makes the planner avoid the index.
        "CREATE INDEX ix_texts_{slot}_words ON texts_{slot} USING gin (words) WITH (fastupdate = off)",
    ],
    "mysql": [
        """CREATE TABLE texts_{slot} (
            show_id BIGINT PRIMARY KEY, event_name MEDIUMTEXT NOT NULL, venue_name MEDIUMTEXT NOT NULL,
            description MEDIUMTEXT NOT NULL, FULLTEXT KEY ft_name (event_name), FULLTEXT KEY ft_venue (venue_name),
            FULLTEXT KEY ft_name_venue (event_name, venue_name), FULLTEXT KEY ft_all (event_name, venue_name, description)
        ) ENGINE=InnoDB CHARACTER SET ascii COLLATE ascii_bin"""
    ],
}


def upgrade() -> None:
    op.create_table(
        "documents",
        sa.Column("show_id", IdentifierNumber(ShowId), autoincrement=False, nullable=False),
        sa.Column("event_revision", sa.Integer(), nullable=False),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False),
        sa.Column("data", Payload, nullable=False),
        sa.PrimaryKeyConstraint("show_id", name="pk_documents"),
    )
    state = op.create_table(
        "index_state",
        sa.Column("name", ExactText(10), nullable=False),
        sa.Column("live", ExactText(1), nullable=False),
        sa.Column("building", ExactText(1)),
        sa.PrimaryKeyConstraint("name", name="pk_index_state"),
    )
    op.bulk_insert(state, [{"name": "live", "live": "a", "building": None}])
    op.create_table(
        "rebuilds",
        sa.Column("rebuild_id", IdentifierText(RebuildId), nullable=False),
        sa.Column("status", ExactText(12), nullable=False),
        sa.Column("documents", sa.Integer()),
        sa.Column("indexed", sa.Integer(), nullable=False),
        sa.Column("failure_reason", ExactText(40)),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant()),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("owner", ExactText(16)),
        sa.Column("leased_until", Instant()),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("rebuild_id", name="pk_rebuilds"),
    )
    op.create_index("ix_rebuilds_status", "rebuilds", ["status"])
    for slot in "ab":
        _create_slot(slot)


def _create_slot(slot: str) -> None:
    op.create_table(
        f"shows_{slot}",
        sa.Column("show_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False),
        sa.Column("status_rank", sa.Integer(), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("status", ExactText(12), nullable=False),
        sa.Column("category", ExactText(255)),
        sa.Column("category_key", ExactText(255)),
        sa.Column("venue_name", ExactText(255), nullable=False),
        sa.Column("month", ExactText(7), nullable=False),
        sa.Column("local_date", ExactText(10), nullable=False),
        sa.Column("price_order", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("show_id", name=f"pk_shows_{slot}"),
    )
    op.create_index(
        f"ix_shows_{slot}_status_rank_starts_at_show_id", f"shows_{slot}", ["status_rank", "starts_at", "show_id"]
    )
    op.create_table(
        f"words_{slot}",
        sa.Column("word", ExactText(64), nullable=False),
        sa.PrimaryKeyConstraint("word", name=f"pk_words_{slot}"),
    )
    op.create_table(
        f"typo_keys_{slot}",
        sa.Column("typo_key", ExactText(8), nullable=False),
        sa.Column("word", ExactText(64), nullable=False),
        sa.PrimaryKeyConstraint("typo_key", "word", name=f"pk_typo_keys_{slot}"),
        sqlite_with_rowid=False,
    )
    dialect = op.get_bind().dialect.name
    for statement in _TEXTS["mysql" if dialect == "mariadb" else dialect]:
        op.execute(statement.format(slot=slot))


def downgrade() -> None:
    for slot in "ab":
        op.execute(f"DROP TABLE texts_{slot}")
        for table in ("typo_keys", "words", "shows"):
            op.drop_table(f"{table}_{slot}")
    op.drop_table("rebuilds")
    op.drop_table("index_state")
    op.drop_table("documents")
