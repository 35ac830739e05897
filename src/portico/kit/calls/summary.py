from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Summary(BaseModel):
    """What one service reads of another's answer: the fields it needs, in snake case or camel case as the system speaks.

    Fields it does not know are ignored, so that the other may grow.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="ignore", frozen=True
    )
