from typing import Annotated, Final

from fastapi import Header, Path, Request

from portico.kit.foundation.problems import ContentTooLarge
from portico.kit.http import Router
from portico.kit.runtime.context import Context
from portico.services.payments.provider.domain import PaymentProvider
from portico.services.payments.webhooks import commands
from portico.services.payments.webhooks.domain import SIGNATURE_HEADER
from portico.services.payments.webhooks.errors import ProviderUnknown, SignatureInvalid, SignatureOld
from portico.services.payments.webhooks.models import PROVIDER_LENGTH
from portico.services.payments.webhooks.schemas import WebhookAnswer

router = Router(prefix="/payments/webhooks", tags=["webhooks"])

LARGEST_BODY: Final = 256 * 1024

Signature = Annotated[str | None, Header(alias=SIGNATURE_HEADER, max_length=2_000, description="`t=…,v1=…`")]
_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


@router.post(
    "/{provider}",
    errors=[ProviderUnknown, SignatureInvalid, SignatureOld, ContentTooLarge],
    stores_answer=False,  # the event's own id is its key
    body_limit=LARGEST_BODY,
    framework={"openapi_extra": _BODY},
)
async def receive_webhook(
    provider: Annotated[str, Path(max_length=PROVIDER_LENGTH)],
    request: Request,
    context: Context,
    signature: Signature = None,
) -> WebhookAnswer:
    """Be told by the provider what became of a charge or a refund. Signed, and handled once."""
    known = context.resource(PaymentProvider)  # type: ignore[type-abstract]  # the key of a resource, never made
    if provider != known.name:
        raise ProviderUnknown(provider=provider)
    event = known.event(await request.body(), signature, now=context.clock.now())
    return WebhookAnswer(event_id=event.event_id, outcome=await commands.receive(context, provider, event))
