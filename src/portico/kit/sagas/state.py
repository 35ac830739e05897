"""State of a saga: typed, frozen, stored as JSON in the saga's row."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from portico.kit.foundation.ids import Identifier

MAX_STATE_LENGTH = 64 * 1024  # characters; limited because every step writes the whole state


class SagaId(Identifier, prefix="saga"):
    """Identifier of a started saga."""


class StateTooLarge(ValueError):
    """A saga's state exceeds its size limit. Store identifiers in it, not documents."""


class SagaState(BaseModel):
    """Base of a saga's state: `class Lending(SagaState): loan_id: LoanId; charge_id: ChargeId | None = None`.

    The state is frozen: a step returns the changed state, `return lending.with_(charge_id=…)`, so that no change is
    lost. A field that is added later needs a default, because sagas that are already running do not have it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    def with_(self, **changes: Any) -> Self:
        """Return a copy with these fields changed.

        Raises:
            TypeError: the state has no such field.
            ValidationError: a value is not valid.
        """
        unknown = changes.keys() - type(self).model_fields.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no field {min(unknown)!r}")
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return self.model_validate(values | changes)

    def to_json(self) -> str:
        """Return the state as JSON. Raises StateTooLarge."""
        text = self.model_dump_json()
        if len(text) > MAX_STATE_LENGTH:
            raise StateTooLarge(
                f"{type(self).__name__} has {len(text)} characters, {MAX_STATE_LENGTH} are allowed. Store identifiers only."
            )
        return text
