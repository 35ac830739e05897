"""Templates, and the few rules of code layout that depend on the length of names."""

import re
from collections.abc import Mapping
from importlib.resources import files
from string import Template

LINE_LENGTH = 120
INDENT = "    "
_PAIRS = {")": "(", "]": "[", "}": "{"}
_UNBRACKETED = re.compile(r"(?P<head>from \S+ import |\s+\w+(?:, \w+)+ = )(?P<parts>[^(].*)")
"""A statement with a list that gets brackets when it is split: an import, or a tuple that is assigned."""


def render(template: str, names: Mapping[str, str]) -> str:
    """Return the template `folder/file` with its placeholders replaced, and long lines of Python code split.

    Raises:
        KeyError: the template has an unknown placeholder.
    """
    text = files("portico.cli.scaffold").joinpath("templates", f"{template}.template").read_text("utf-8")
    rendered = Template(text).substitute(names)
    return wrap_lines(rendered) if template.endswith(".py") else rendered


def wrap_lines(code: str) -> str:
    """Return the code with long lines split at their last pair of brackets, as ruff's formatter splits them."""
    return "".join(_wrapped(line) for line in code.splitlines(keepends=True))


def _wrapped(line: str) -> str:
    text = line.rstrip("\n")
    if len(text) <= LINE_LENGTH:
        return line
    if found := _UNBRACKETED.fullmatch(text):
        head, inner, tail = f"{found['head']}(", found["parts"], ")"
    elif (split := _split_at_brackets(text)) is not None:
        head, inner, tail = split
    else:
        return line
    indent = text[: len(text) - len(text.lstrip())] + INDENT
    if not found and len(indent + inner) <= LINE_LENGTH:
        return f"{head}\n{indent}{inner}\n{indent[: -len(INDENT)]}{tail}\n"
    parts = "".join(f"{indent}{part},\n" for part in split_arguments(inner))
    return f"{head}\n{parts}{indent[: -len(INDENT)]}{tail}\n"


def _split_at_brackets(text: str) -> tuple[str, str, str] | None:
    """Return what is before, within and after the last pair of brackets that has content."""
    depth, end = 0, -1
    for place in range(len(text) - 1, -1, -1):
        character = text[place]
        if character in _PAIRS:
            if depth == 0:
                end = place
            depth += 1
        elif character in _PAIRS.values():
            depth -= 1
            if depth == 0 and end > place + 1:
                return text[: place + 1], text[place + 1 : end], text[end:]
    return None


def split_arguments(text: str) -> list[str]:
    """Return the parts of `text` between its outermost commas."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        if character in _PAIRS.values():
            depth += 1
        elif character in _PAIRS:
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    return [*parts, text[start:].strip()]
