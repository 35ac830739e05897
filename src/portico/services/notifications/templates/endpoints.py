from typing import Annotated

from fastapi import Path

from portico.kit.auth import Principal, permitted
from portico.kit.http import Router
from portico.kit.runtime.context import provided
from portico.services.notifications.templates.domain import SAMPLE
from portico.services.notifications.templates.errors import TemplateDataInvalid, TemplateNotFound, VersionNotFound
from portico.services.notifications.templates.resources import Templates
from portico.services.notifications.templates.schemas import Preview, PreviewRead, TemplateRead

router = Router(prefix="/templates", tags=["templates"])

MayRead = Annotated[Principal, permitted("notifications:read")]
Known = Annotated[Templates, provided(Templates)]
Name = Annotated[str, Path(max_length=60)]


@router.get("")
async def list_templates(caller: MayRead, templates: Known) -> list[TemplateRead]:
    """The templates that there are, by name."""
    return [TemplateRead.of(each) for each in templates.newest_of_each]


@router.post("/{name}/preview", errors=[TemplateNotFound, VersionNotFound, TemplateDataInvalid], stores_answer=False)
async def preview_template(name: Name, preview: Preview, caller: MayRead, templates: Known) -> PreviewRead:
    """What a mail by this template would say. Nothing is sent."""
    template = templates.newest(name) if preview.version is None else templates.find(name, preview.version)
    data = SAMPLE if preview.data is None else preview.data
    written = await templates.render(template, data, name=preview.recipient_name or "Ada Lovelace")
    return PreviewRead(
        name=template.name, version=template.version, subject=written.subject, text=written.text, html=written.html
    )
