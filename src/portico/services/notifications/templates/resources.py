"""The templates, read and compiled when the service starts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, StrictUndefined, select_autoescape
from jinja2.sandbox import ImmutableSandboxedEnvironment

from portico.kit.runtime.context import ServiceRuntime
from portico.services.notifications.mail import Mailer
from portico.services.notifications.mail.base import LONGEST_SUBJECT, in_one_line
from portico.services.notifications.templates.domain import TEMPLATES, Template, money
from portico.services.notifications.templates.errors import TemplateNotFound, VersionNotFound

FILES = Path(__file__).parent / "files"
PARTS = ("subject.txt", "body.txt", "body.html")


@dataclass(frozen=True, slots=True)
class Written:
    """What a mail says."""

    subject: str
    text: str
    html: str


class Templates:
    """Writes mails.

    Args:
        sources: the text of each file, by its path below FILES.
        called: what mails are signed with.
    """

    def __init__(self, sources: dict[str, str], *, called: str) -> None:
        # What is filled in comes from users: autoescaped in HTML, and a template reaches nothing but what it is given.
        self._environment = ImmutableSandboxedEnvironment(
            loader=DictLoader(sources),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
        )
        self._environment.filters |= {"money": money, "line": in_one_line}
        self._called = called
        self._known = {(each.name, each.version): each for each in TEMPLATES}
        for each in TEMPLATES:
            for part in PARTS:
                self._environment.get_template(_path(each, part))

    @property
    def newest_of_each(self) -> list[Template]:
        """The newest version of each template, by name."""
        return [self.newest(name) for name in sorted({each.name for each in TEMPLATES})]

    def newest(self, name: str) -> Template:
        """The newest version of a template. Raises TemplateNotFound."""
        versions = [each for each in TEMPLATES if each.name == name]
        if not versions:
            known = ", ".join(sorted({each.name for each in TEMPLATES}))
            raise TemplateNotFound(name=name, known=known)
        return max(versions, key=lambda each: each.version)

    def find(self, name: str, version: int) -> Template:
        """A version of a template. Raises TemplateNotFound, VersionNotFound."""
        newest = self.newest(name)
        if (name, version) not in self._known:
            raise VersionNotFound(name=name, version=version, newest=newest.version)
        return self._known[name, version]

    async def render(self, template: Template, data: dict[str, Any], *, name: str) -> Written:
        """What the mail to somebody called `name` says; in a thread, since orders can be long.

        Raises TemplateDataInvalid.
        """
        return await asyncio.to_thread(self._render, template, data, name)

    def _render(self, template: Template, data: dict[str, Any], name: str) -> Written:
        filled_in = {**dict(template.checked(data)), "name": in_one_line(name), "shop": self._called}
        subject, text, html = (
            self._environment.get_template(_path(template, part)).render(filled_in) for part in PARTS
        )
        return Written(in_one_line(subject)[:LONGEST_SUBJECT], text, html)


def _path(template: Template, part: str) -> str:
    return f"{template.name}/{template.version}/{part}"


def read_files() -> dict[str, str]:
    """The text of every file of every template, by its path below FILES."""
    return {
        path.relative_to(FILES).as_posix(): path.read_text("utf-8")
        for path in sorted(FILES.rglob("*"))
        if path.suffix in {".txt", ".html"}
    }


@asynccontextmanager
async def open_templates(context: ServiceRuntime) -> AsyncIterator[Templates]:
    """The templates of the service, signed by whom mails are from."""
    sender = context.resource(Mailer).sender  # type: ignore[type-abstract]  # what is declared is the interface
    called = sender.name or sender.domain
    yield await asyncio.to_thread(lambda: Templates(read_files(), called=called))
