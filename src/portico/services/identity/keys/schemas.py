from typing import Any

from portico.kit import Schema


class KeySetRead(Schema):
    """A JWK set. The members of a key keep the spelling of RFC 7517 in every system."""

    keys: list[dict[str, Any]]
