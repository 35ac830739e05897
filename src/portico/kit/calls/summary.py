"""Base class of the responses that typed clients read."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Summary(BaseModel):
    """The fields that one service needs from another's response, in either case of JSON.

    Unknown fields are ignored, so that the other service can add fields.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="ignore", frozen=True
    )
