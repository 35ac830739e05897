from pathlib import Path

import pytest
from tests.cli.running import LIBRARY

from portico.kit.data.migrations import KIT_HISTORY
from portico.kit.data.migrations.alembic_runner import revisions
from portico.testing.commands import run_portico

KIT = ", ".join(f"the kit {script.revision}" for script in revisions(KIT_HISTORY))


def migrate(folder: Path, *arguments: str) -> str:
    done = run_portico(folder, "migrate", *arguments, "--system", LIBRARY)
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestMigrate:
    def test_runs_pending_migrations_once(self, tmp_path: Path) -> None:
        assert "no database yet" in migrate(tmp_path, "status")

        assert f"loans: ran {KIT}, loans 0001" in migrate(tmp_path, "upgrade")

        assert "loans: up to date" in migrate(tmp_path, "upgrade")
        assert "no database yet" not in migrate(tmp_path, "status")

    @pytest.mark.slow
    def test_undoes_the_last_migration(self, tmp_path: Path) -> None:
        migrate(tmp_path, "upgrade")

        assert migrate(tmp_path, "downgrade", "loans") == "loans: undid 0002\n"

        assert "loans: ran loans 0002" in migrate(tmp_path, "upgrade", "loans")

    @pytest.mark.slow
    def test_an_unknown_revision_is_rejected(self, tmp_path: Path) -> None:
        migrate(tmp_path, "upgrade")

        refused = run_portico(tmp_path, "migrate", "downgrade", "loans", "--to", "0007", "--system", LIBRARY)

        assert refused.returncode == 2
        assert "0007" in refused.stderr
        assert "Traceback" not in refused.stderr

    def test_a_service_without_tables_has_no_migrations_of_its_own(self, tmp_path: Path) -> None:
        refused = run_portico(tmp_path, "migrate", "new", "patience", "anything", "--system", LIBRARY)

        assert refused.returncode == 2
        assert "patience has no tables" in refused.stderr


class TestMigrateNew:
    @pytest.fixture
    def shelf(self, tmp_path: Path) -> Path:
        """A folder with a service of its own in it, as a team's would be."""
        folder = tmp_path / "shelf"
        folder.mkdir()
        (folder / "__init__.py").write_text(SERVICE)
        (folder / "models.py").write_text(MODELS.format(more=""))
        return folder

    def new(self, shelf: Path, message: str) -> str:
        done = run_portico(shelf.parent, "migrate", "new", "shelf", message, "--system", "shelf:system")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def test_the_first_migration_creates_the_tables(self, shelf: Path) -> None:
        assert "0001_books.py" in self.new(shelf, "Books")

        script = (shelf / "migrations" / "versions" / "0001_books.py").read_text()
        assert script.startswith(
            '"""Books."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n'
            "from portico.kit.auth import UserId\n"
            "from portico.kit.data import ExactText, IdentifierText, Instant, Payload\n\n"
            "from shelf.models import BookId\n\nrevision = "
        )
        assert 'revision = "0001"\ndown_revision = None' in script
        assert 'sa.Column("book_id", IdentifierText(BookId), nullable=False)' in script
        assert 'sa.Column("added_at", Instant(), nullable=False)' in script
        assert 'sa.Column("notes", Payload' in script

    def test_the_next_migration_has_the_changes(self, shelf: Path) -> None:
        self.new(shelf, "Books")
        (shelf / "models.py").write_text(MODELS.format(more="pages: Mapped[int | None]"))

        self.new(shelf, "Count the pages")

        script = (shelf / "migrations" / "versions" / "0002_count_the_pages.py").read_text()
        assert 'down_revision = "0001"' in script
        assert "pages" in script
        assert "create_table" not in script

    @pytest.mark.slow
    def test_a_written_migration_runs_and_can_be_undone(self, shelf: Path) -> None:
        self.new(shelf, "Books")
        (shelf / "models.py").write_text(MODELS.format(more="pages: Mapped[int | None]"))
        self.new(shelf, "Count the pages")

        ran = run_portico(shelf.parent, "migrate", "upgrade", "--system", "shelf:system")
        undone = run_portico(shelf.parent, "migrate", "downgrade", "shelf", "--to", "base", "--system", "shelf:system")

        assert ran.stdout == f"shelf: ran {KIT}, shelf 0001, shelf 0002\n"
        assert undone.stdout == "shelf: undid 0002, 0001\n"

    @pytest.mark.slow
    def test_writes_nothing_without_a_change(self, shelf: Path) -> None:
        self.new(shelf, "Books")

        assert "nothing to migrate" in self.new(shelf, "More")
        assert len(list((shelf / "migrations" / "versions").glob("*.py"))) == 1


SERVICE = """
from shelf import models

from portico.kit.runtime.service import Service
from portico.kit.runtime.system import System

service = Service(name="shelf", summary="Books", module=__name__, tables=models.Table.metadata)
system = System("shelf", "Books", gateway=1, services={service: 1})
"""

MODELS = """
from datetime import datetime
from typing import Any

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from portico.kit.auth import UserId
from portico.kit.data import TableRules, identifier
from portico.kit.data.types import ExactText, Payload
from portico.kit.foundation.ids import Identifier


class BookId(Identifier, prefix="book"):
    pass


class Table(TableRules, DeclarativeBase):
    pass


class Book(Table):
    __tablename__ = "books"

    book_id: Mapped[BookId] = identifier()
    title: Mapped[str] = mapped_column(index=True)
    isbn: Mapped[str] = mapped_column(ExactText(13), unique=True)
    added_at: Mapped[datetime]
    added_by: Mapped[UserId]
    notes: Mapped[Any] = mapped_column(Payload)
    {more}
"""
