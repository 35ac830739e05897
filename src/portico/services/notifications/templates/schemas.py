from typing import Any

from pydantic import Field

from portico.kit.http import Schema, Text


class TemplateRead(Schema):
    """A template, in its newest version."""

    name: str
    version: int


class Preview(Schema):
    """What to fill a template in with; an example where it is left out."""

    version: int | None = Field(None, ge=1, le=2**31 - 1, description="The newest if left out")
    recipient_name: Text | None = None
    data: dict[str, Any] | None = None


class PreviewRead(Schema):
    """What the mail would say."""

    name: str
    version: int
    subject: str
    text: str
    html: str
