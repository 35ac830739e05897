"""Edits of Python modules that keep everything else as it is: an import, an element of a literal.

A module that is not written as expected is not edited: `EditRefused` says what was looked for.
"""

import ast
import re
import sys
from dataclasses import dataclass
from typing import Self

from portico.cli.scaffold.rendering import INDENT, LINE_LENGTH, wrap_lines

Literal = ast.Dict | ast.List


class EditRefused(ValueError):
    """A module is not written as expected. The message says what was looked for."""


@dataclass(frozen=True)
class Module:
    """The text of a Python module, with methods that return the changed module.

    Args:
        text: the source code.
        package: the project's own package; its imports are a section of their own.
    """

    text: str
    package: str

    def with_import(self, module: str, *names: str) -> Self:
        """Return the module with `from module import names`, in the order that isort expects.

        A name may be `service as items`; it then gets a line of its own.
        """
        found = next((each for each in self._imports() if each.module == module and not _has_alias(each)), None)
        if found is None or any(" as " in name for name in names):
            return self._with_new_import(module, f"from {module} import {', '.join(names)}")
        known = [alias.name for alias in found.names]
        every = sorted({*known, *names}, key=_member_order)
        return self._replaced(found, wrap_lines(f"from {module} import {', '.join(every)}\n").rstrip("\n"))

    def with_element(self, call: str, keyword: str, element: str, *, within: str | None = None) -> Self:
        """Return the module with `element` at the end of a list or dict in a call's arguments.

        Args:
            call: the assigned variable and the called class, as in `shop = System`.
            keyword: the argument that holds the list or dict.
            element: source code, such as `items: 9000`.
            within: key of the dict's value that is meant instead of the dict, such as "staff".

        Raises:
            EditRefused: there is no such call, argument or key, or it is no literal.
        """
        literal = self.literal(call, keyword, within=within)
        return self._replaced(literal, self._extended(literal, element))

    def literal(self, call: str, keyword: str, *, within: str | None = None) -> Literal:
        """Return the list or dict that `with_element` extends. Raises EditRefused."""
        variable, _, function = call.partition(" = ")
        what = f"`{call}(…, {keyword}=…)`"
        value = next(
            (each.value for each in self._call(variable, function, what).keywords if each.arg == keyword), None
        )
        if within is not None and isinstance(value, ast.Dict):
            what = f'"{within}" in {what}'
            pairs = zip(value.keys, value.values, strict=True)
            value = next((each for key, each in pairs if isinstance(key, ast.Constant) and key.value == within), None)
        if not isinstance(value, ast.Dict | ast.List):
            raise EditRefused(f"{what} is not a list or dict that is written out there")
        return value

    def _call(self, variable: str, function: str, what: str) -> ast.Call:
        for node in ast.parse(self.text).body:
            if (
                isinstance(node, ast.Assign)
                and [ast.unparse(each) for each in node.targets] == [variable]
                and isinstance(node.value, ast.Call)
                and ast.unparse(node.value.func) == function
            ):
                return node.value
        raise EditRefused(f"it has no {what}")

    def _imports(self) -> list[ast.ImportFrom]:
        return [node for node in ast.parse(self.text).body if isinstance(node, ast.ImportFrom) and node.module]

    def _with_new_import(self, module: str, line: str) -> Self:
        everything = [node for node in ast.parse(self.text).body if isinstance(node, ast.Import | ast.ImportFrom)]
        line = wrap_lines(line + "\n")
        if not everything:
            raise EditRefused("it has no imports")
        section = [each for each in self._imports() if self._section(str(each.module)) == self._section(module)]
        if not section:
            end = self._end(everything[-1])
            return type(self)(f"{self.text[:end]}\n\n{line.rstrip()}{self.text[end:]}", self.package)
        after = next((each for each in section if (each.module, ast.unparse(each)) > (module, line)), None)
        if after is None:
            end = self._end(section[-1])
            return type(self)(f"{self.text[:end]}\n{line.rstrip()}{self.text[end:]}", self.package)
        start = self._start(after)
        return type(self)(f"{self.text[:start]}{line}{self.text[start:]}", self.package)

    def _section(self, module: str) -> int:
        root = module.partition(".")[0]
        return 0 if root in sys.stdlib_module_names else 2 if root == self.package else 1

    def _extended(self, literal: Literal, element: str) -> str:
        """Return the source of a literal with one more element."""
        start, end = self._start(literal), self._end(literal)
        last = (literal.values if isinstance(literal, ast.Dict) else literal.elts)[-1:]
        source = self.text[start:end]
        if not last:
            return f"{source[0]}{element}{source[-1]}"
        place = self._end(last[0]) - start
        line = self.text.rfind("\n", 0, self._end(last[0])) + 1
        indent = re.match(r"[ \t]*", self.text[line:])
        assert indent is not None  # noqa: S101 the pattern matches every text
        if "\n" not in source:
            extended = f"{source[:place]}, {element}{source[-1]}"
            fits = len(self.text[line:start]) + len(extended) + len(self.text[end:].partition("\n")[0]) <= LINE_LENGTH
            return extended if fits else self._one_per_line(literal, element, indent[0])
        rest = re.match(r",?([ \t]*(?:#[^\n]*)?)", source[place:])
        assert rest is not None  # noqa: S101 likewise
        return f"{source[:place]},{rest[1].rstrip()}\n{indent[0]}{element},{source[place + rest.end() :]}"

    def _one_per_line(self, literal: Literal, element: str, indent: str) -> str:
        values = literal.values if isinstance(literal, ast.Dict) else literal.elts
        keys = literal.keys if isinstance(literal, ast.Dict) else values
        parts = [
            self.text[self._start(key or value) : self._end(value)] for key, value in zip(keys, values, strict=True)
        ]
        lines = "".join(f"{indent}{INDENT}{part},\n" for part in [*parts, element])
        return f"{self.text[self._start(literal)]}\n{lines}{indent}{self.text[self._end(literal) - 1]}"

    def _replaced(self, node: ast.stmt | ast.expr, source: str) -> Self:
        return type(self)(f"{self.text[: self._start(node)]}{source}{self.text[self._end(node) :]}", self.package)

    def _start(self, node: ast.stmt | ast.expr) -> int:
        return self._place(node.lineno, node.col_offset)

    def _end(self, node: ast.stmt | ast.expr) -> int:
        return self._place(node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)

    def _place(self, line: int, column: int) -> int:
        """Return the index in the text of a place that `ast` counts in lines and UTF-8 bytes."""
        lines = self.text.split("\n")
        return sum(len(each) + 1 for each in lines[: line - 1]) + len(lines[line - 1].encode()[:column].decode())


def _has_alias(statement: ast.ImportFrom) -> bool:
    return any(alias.asname for alias in statement.names)


def _member_order(name: str) -> tuple[int, str]:
    """Return isort's order of imported names: constants, classes, others."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    return kind, name.lower()
