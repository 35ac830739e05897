from typing import Literal

from portico.kit.http import Schema


class WebhookAnswer(Schema):
    """What was made of a webhook: `repeated` was handled before, `ignored` tells of nothing that payments knows."""

    event_id: str
    outcome: Literal["handled", "repeated", "ignored"]
