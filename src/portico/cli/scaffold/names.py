"""The names that a user chooses, checked, and those that follow from them."""

import importlib.util
import keyword
import pkgutil
import re
import sys

import portico.kit
import portico.services
from portico.kit.foundation.errors import CommandError

MAX_NAME_LENGTH = 20
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_VOWELS = "aeiou"

# What the templates import or define besides the names of portico.kit.
_TEMPLATE_NAMES = {"Annotated", "Any", "Callable", "Check", "Field", "Mapped", "Mapping", "Table", "Writer"}


def check_name(name: str, kind: str, example: str) -> None:
    """Check that `name` can name a module. Raises CommandError."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_LENGTH:
        raise CommandError(
            f"{name!r} cannot name a {kind}.",
            f"Use lower-case letters, digits and single underscores, at most {MAX_NAME_LENGTH} characters, as in {example}.",
        )
    if keyword.iskeyword(name):
        raise CommandError(
            f"{name!r} is a Python keyword and cannot name a {kind}.", f"Choose another, such as {example}."
        )


def check_project_name(name: str) -> None:
    """Check that a package of this name would hide no installed module. Raises CommandError."""
    check_name(name, "project", "shop")
    spec = importlib.util.find_spec(name)
    installed = spec is not None and spec.origin is not None
    if installed or name in sys.stdlib_module_names:
        raise CommandError(f"{name!r} is the name of an installed module.", "Choose another name for the project.")


def check_service_name(name: str, project: str) -> None:
    """Raises CommandError."""
    check_name(name, "service", "items")
    if name in {each.name for each in pkgutil.iter_modules(portico.services.__path__)} or name == "gateway":
        raise CommandError(
            f"{name!r} is the name of a part that Portico brings.",
            "Choose another name. To use the shipped service, import it in the module of the system.",
        )
    if name == project:
        raise CommandError(f"{name!r} is the name of the project's system.", "Choose another name for the service.")


def resource_names(plural: str, singular: str | None) -> dict[str, str]:
    """Return the names that a resource called `plural` has in templates.

    Args:
        plural: a noun in the plural, such as `items`.
        singular: the noun in the singular; None derives it.

    Raises:
        CommandError: a name cannot be used, or the singular cannot be derived.
    """
    check_name(plural, "resource", "items")
    one = singular or _singular_of(plural)
    if one is None or one == plural:
        raise CommandError(
            f"The singular of {plural!r} is unknown.",
            "Name a resource by a noun in the plural, such as items, or add its singular: --singular item.",
        )
    check_name(one, "resource", "item")
    classes = {_camel(plural), _camel(one)}
    if taken := classes & {*portico.kit.__all__, *_TEMPLATE_NAMES}:
        raise CommandError(
            f"{plural!r} would define a class {min(taken)}, which is a name that Portico's services import.",
            "Choose another name for the resource.",
        )
    words, word = plural.replace("_", " "), one.replace("_", " ")
    an_item = f"{'an' if word[0] in _VOWELS else 'a'} {word}"
    return {
        "items": plural,
        "item": one,
        "Items": _camel(plural),
        "Item": _camel(one),
        "kebab": plural.replace("_", "-"),
        "path": f"/{plural.replace('_', '-')}",
        "permission": f"{plural.replace('_', '-')}:write",
        "words": words,
        "word": word,
        "Words": words.capitalize(),
        "Word": word.capitalize(),
        "an_item": an_item,
        "An_item": an_item.capitalize(),
    }


def _singular_of(plural: str) -> str | None:
    for ending, replacement in (
        ("ies", "y"),
        ("sses", "ss"),
        ("xes", "x"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("ss", "ss"),
    ):
        if plural.endswith(ending):
            return plural.removesuffix(ending) + replacement
    return plural.removesuffix("s") if plural.endswith("s") else None


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
