"""The guide's saga works as written, and everything that the guide names exists."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.kit.sagas.library import Library

from portico import kit
from portico.kit.foundation.backoff import Backoff
from portico.kit.sagas import Saga, UndoReason
from portico.kit.sagas.outcomes import outcome_of
from portico.kit.sagas.transitions import Position, next_position
from portico.kit.settings import Settings

GUIDE = (Path(__file__).parents[3] / "docs" / "sagas.md").read_text("utf-8")
CODE = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """Return the names that the guide's module defines."""
    names: dict[str, Any] = {"__name__": "library.saga"}
    exec(CODE[0], names)  # noqa: S102  # code of the guide
    return names


class TestGuide:
    def test_its_saga_has_the_documented_steps(self, written: dict[str, Any]) -> None:
        saga: Saga[Any] = written["lend_book"]

        assert [step.name for step in saga.steps] == ["reserve-copy", "take-deposit", "hand-over"]
        assert saga.steps[2].only_forward

    def test_its_failure_undoes_earlier_steps(self, written: dict[str, Any]) -> None:
        at = Position("running", "take-deposit", ("reserve-copy",), attempts=1)
        declined = outcome_of(written["AbortSaga"]("The card was declined", code="card_declined"))

        to = next_position(written["lend_book"], at, declined, Backoff(base=0.2, limit=60))

        assert (to.status, to.step) == ("undoing", "reserve-copy")
        assert to.undo_reason == UndoReason(False, "The card was declined", "card_declined", "take-deposit")

    def test_the_documented_requests_exist(self) -> None:
        asked = set(re.findall(r"^await (?:\w+\.)?(\w+)\(", "\n".join(CODE[1:]), re.MULTILINE))

        assert asked == {"start_saga", "request_undo", "retry_now", "skip"}
        assert all(hasattr(kit.sagas, name) for name in asked)

    def test_its_settings_exist(self) -> None:
        assert set(re.findall(r"`(SAGA_\w+)`", GUIDE)) == {
            name.upper() for name in Settings.model_fields if name.startswith("saga_")
        }

    async def test_its_metrics_exist(self, embedded_library: Library) -> None:
        embedded_library.runner.metrics.register(embedded_library.loans.context.health)
        text = embedded_library.loans.context.metrics.render().decode()

        assert [name for name in re.findall(r"`(portico_saga\w+)`", GUIDE) if f"\n# HELP {name}" not in text] == []
