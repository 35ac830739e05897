"""Names that are stored in a database: consumers, sagas, saga steps, jobs.

They are explicit strings, so that renaming a function changes no stored data.
"""

import re

MAX_LENGTH = 64
_KEBAB_CASE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def checked_name(name: str) -> str:
    """Return `name` if it may be stored.

    Raises:
        ValueError: the name is not kebab-case, or has more than MAX_LENGTH characters.
    """
    if len(name) > MAX_LENGTH or not _KEBAB_CASE.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid name. Use kebab-case with at most {MAX_LENGTH} characters.")
    return name
