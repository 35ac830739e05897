"""What a saga knows of its own progress: typed, frozen, kept as JSON in the saga's row."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from portico.kit.foundation.ids import Identifier

LARGEST_STATE = 64 * 1024  # bytes; it is written anew with every step


class SagaId(Identifier, prefix="saga"):
    """One saga that was started."""


class StateTooLarge(ValueError):
    """A state is to name things, not to hold them."""


class SagaState(BaseModel):
    """Base of a saga's state: `class Lending(SagaState): loan_id: LoanId; charge_id: ChargeId | None = None`.

    Frozen: a step answers with what changed, `return lending.with_(charge_id=…)`, and what it changed in passing can't
    vanish. A field that is added later needs a default, since sagas that were started before have none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    def with_(self, **changes: Any) -> Self:
        """The same, but for these fields. Raises pydantic's ValidationError."""
        unknown = changes.keys() - type(self).model_fields.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no field {min(unknown)!r}")
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return self.model_validate(values | changes)

    def dumped(self) -> str:
        """The state as JSON. Raises StateTooLarge."""
        text = self.model_dump_json()
        if len(text) > LARGEST_STATE:
            raise StateTooLarge(f"{type(self).__name__} has {len(text)} characters, {LARGEST_STATE} are allowed")
        return text
