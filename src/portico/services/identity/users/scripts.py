"""Scripts of text (Unicode TR 39). `unicode_scripts.txt` beside this file says which script a character belongs to."""

from bisect import bisect_right
from functools import cache
from pathlib import Path
from typing import Final

_EVERY: Final = "-"  # Common or Inherited: digits, punctuation, accents, modifier letters
_NOTHING: Final[frozenset[str]] = frozenset()
_WRITING_SYSTEMS: Final = {
    "Hani": frozenset({"Jpan", "Kore", "Hanb"}),
    "Hira": frozenset({"Jpan"}),
    "Kana": frozenset({"Jpan"}),
    "Hang": frozenset({"Kore"}),
    "Bopo": frozenset({"Hanb"}),
}
"""Japanese, Korean and Chinese are written with several scripts each (UTS 39 section 5.1)."""


def mixes_scripts(text: str) -> bool:
    """Whether `text` mixes scripts that are not written together (UTS 39 section 5.2, "highly restrictive").

    Text in one script does not, nor does Japanese, Chinese or Korean beside Latin.
    """
    found = [each for each in map(_scripts_of, text) if each]
    if not found or frozenset.intersection(*found):
        return False
    return not any(
        all(each & {"Latn", system} for each in found) for system in frozenset().union(*_WRITING_SYSTEMS.values())
    )


def _scripts_of(character: str) -> frozenset[str]:
    """Return the scripts and writing systems that `character` is used in; empty if it may stand beside any."""
    starts, scripts = _table()
    return scripts[bisect_right(starts, ord(character)) - 1]


@cache
def _table() -> tuple[list[int], list[frozenset[str]]]:
    """Return the first character of each range, and the scripts of the range."""
    lines = Path(__file__).with_name("unicode_scripts.txt").read_text("ascii").splitlines()
    starts, scripts = [], []
    for line in lines:
        if not line.startswith("#"):
            start, *names = line.split()
            starts.append(int(start, 16))
            scripts.append(_NOTHING if names == [_EVERY] else _with_writing_systems(frozenset(names)))
    return starts, scripts


def _with_writing_systems(scripts: frozenset[str]) -> frozenset[str]:
    return scripts.union(*(_WRITING_SYSTEMS.get(each, _NOTHING) for each in scripts))
