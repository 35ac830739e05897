"""Plain language: words that make text hard to read are counted, and their number may only fall.

Log events have one form and are documented, so that operators can rely on them.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "portico"
LOG_EVENTS = ROOT / "docs" / "log-events.md"

SIGNAL_WORDS = re.compile(
    r"\b(whoever|whom|nobody|somebody|anew|for good|where there is none|is told|tells of|of no use|come again|by now"
    r"|be it|lies in|stands in|sees to|such a)\b",
    re.IGNORECASE,
)
MAX_SIGNAL_WORDS = 5
"""Lower this number when you remove some. It never rises."""

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


class TestSignalWords:
    def test_do_not_increase(self) -> None:
        found = Counter({_named(path): len(SIGNAL_WORDS.findall(text)) for path, text in _texts()})

        assert found.total() <= MAX_SIGNAL_WORDS, (
            f"{found.total()} signal words of unclear language, {MAX_SIGNAL_WORDS} are allowed: {found.most_common(10)}"
        )


class TestLogEvents:
    def test_are_snake_case(self) -> None:
        assert sorted(event for event in _log_events() if not re.fullmatch(r"[a-z][a-z0-9_]*", event)) == []

    def test_are_documented(self) -> None:
        documented = set(re.findall(r"^\| `([^`]+)`", LOG_EVENTS.read_text("utf-8"), re.MULTILINE))

        assert set(_log_events()) == documented, "docs/log-events.md lists every log event"

    def test_have_a_documented_level(self) -> None:
        documented = dict(re.findall(r"^\| `([^`]+)` \| (\w+) \|", LOG_EVENTS.read_text("utf-8"), re.MULTILINE))

        assert {
            event: documented[event] for event, levels in _log_events().items() if documented[event] not in levels
        } == {}


def _texts() -> Iterator[tuple[Path, str]]:
    """Yield the documents, and the strings of each module: docstrings, messages and descriptions."""
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "compose.yaml")]
    for path in (*pages, *sorted((ROOT / "docs").rglob("*.md"))):
        yield path, path.read_text("utf-8")
    for path, nodes in _modules().items():
        strings = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
        yield path, "\n".join(strings)


def _log_events() -> dict[str, set[str]]:
    """Return the log events of the package, each with its levels."""
    events: dict[str, set[str]] = {}
    for nodes in _modules().values():
        for node in nodes:
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "logger"
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and isinstance(node.args[0].value, str)
            ):
                has_traceback = node.func.attr == "error" and any(each.arg == "exc_info" for each in node.keywords)
                events.setdefault(node.args[0].value, set()).add("exception" if has_traceback else node.func.attr)
    return events


@cache
def _modules() -> dict[Path, list[ast.AST]]:
    """Return the constants and calls of each module. To parse all modules takes seconds."""
    return {
        path: [
            node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Constant | ast.Call)
        ]
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))
