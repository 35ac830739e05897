from pathlib import Path

import pytest

from portico.cli.source_tree import SourceTree


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "shop" / "api.py"
    file.parent.mkdir()
    file.write_text("one")
    return file


class TestSourceTree:
    def test_without_a_change_nothing_has_changed(self, file: Path, tmp_path: Path) -> None:
        assert SourceTree([tmp_path]).changed() == set()

    def test_a_changed_file_is_returned_once(self, file: Path, tmp_path: Path) -> None:
        tree = SourceTree([tmp_path])
        file.write_text("another")

        assert tree.changed() == {file}
        assert tree.changed() == set()

    def test_created_and_deleted_files_are_changes(self, file: Path, tmp_path: Path) -> None:
        tree = SourceTree([tmp_path])
        created = file.with_name("models.py")
        created.write_text("")
        file.unlink()

        assert tree.changed() == {file, created}

    @pytest.mark.parametrize("name", [".venv/a.py", "site-packages/a.py", "__pycache__/a.py", "notes.txt"])
    def test_other_files_are_not_watched(self, name: str, file: Path, tmp_path: Path) -> None:
        tree = SourceTree([tmp_path])
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")

        assert tree.changed() == set()

    def test_a_folder_that_is_deleted_takes_its_files_along(self, file: Path, tmp_path: Path) -> None:
        tree = SourceTree([file.parent])
        file.unlink()
        file.parent.rmdir()

        assert tree.changed() == {file}
