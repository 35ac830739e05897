"""What the documents show is run, compiled or parsed as it stands there."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from portico.cli import app
from portico.cli.deploy_files import deploy_files
from portico.cli.reference import with_tables

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS = {"sh", "bash", "console"}
INLINE = re.compile(r"`portico ([^`\n]+)`")


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """Return the blocks of code in these languages."""
    for block in BLOCK.finditer(page.read_text("utf-8")):
        if block["language"] in languages:
            yield block["text"]


def commands(script: str) -> Iterator[list[str]]:
    """Return the arguments of each `portico` command in a script."""
    for line in script.replace("\\\n", " ").splitlines():
        for command in re.split(r";|&&|\|| &(?= |$)", line.removeprefix("$ ")):
            try:
                words = shlex.split(command, comments=True)
            except ValueError:  # a quoted text over several lines, of another program
                continue
            while words and re.match(r"[A-Z_]+=", words[0]):
                del words[0]
            if words and Path(words[0]).name == "portico":
                yield words[1:]


def parse(arguments: list[str], *, complete: bool) -> None:
    """Parse the arguments of `portico` as the command line does; only the names if they are not complete.

    Raises:
        Exception: the command line rejects them.
    """
    command: Any = typer.main.get_command(app)
    context = command.make_context("portico", list(arguments), resilient_parsing=True)
    while hasattr(command, "resolve_command") and arguments and not arguments[0].startswith("-"):
        name, command, arguments = command.resolve_command(context, arguments)
        context = command.context_class(command, parent=context, info_name=name)
    if complete:
        command.make_context(command.name, list(arguments), parent=context)
        return
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = {word.partition("=")[0] for word in arguments if word.startswith("--")} - known
    assert not unknown, f"no such option: {unknown}"


def problems(page: Path) -> Iterator[str]:
    """Return what is wrong with the code and commands of a page."""
    for text in blocks(page, "python"):
        try:
            compile(text, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except SyntaxError as error:
            yield f"{error.msg}: {text}"
    shown = [(words, True) for text in blocks(page, *SHELLS) for words in commands(text)]
    named = [(shlex.split(text), False) for text in INLINE.findall(page.read_text("utf-8"))]
    for words, complete in (*shown, *named):
        try:
            parse(list(words), complete=complete)
        except Exception as error:  # noqa: BLE001  # the command line's errors have no common class of their own
            yield f"portico {' '.join(words)}: {error}"


class TestExamples:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_their_code_compiles_and_their_commands_are_accepted(self, page: Path) -> None:
        assert list(problems(page)) == []

    def test_a_wrong_command_and_wrong_code_are_found(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text(
            "```sh\nportico up --sevrers\nX=1 portico dance\n```\n`portico up --slpit`\n```python\nasync x\n```\n"
        )

        found = list(problems(page))

        assert [any(word in each for each in found) for word in ("sevrers", "dance", "slpit", "async x")] == [True] * 4


class TestLinks:
    def test_every_page_that_is_pointed_to_is_there(self) -> None:
        missing = [
            f"{page.relative_to(ROOT)}: {target}"
            for page in PAGES
            for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text("utf-8"))
            if not (page.parent / target).exists()
        ]
        assert missing == []


class TestConfiguration:
    def test_its_tables_are_those_of_the_settings(self) -> None:
        page = (ROOT / "docs/configuration.md").read_text("utf-8")

        assert page == with_tables(page), "run `make generate`"


class TestDeploy:
    def test_its_files_are_what_is_exported(self) -> None:
        folder = ROOT / "deploy"
        found = {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*.*")}

        assert found == deploy_files(), "run `make generate`"
