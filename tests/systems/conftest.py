import pytest


@pytest.fixture(autouse=True)
def _patient_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let services take as long as they need for their documents, also on a busy machine."""
    monkeypatch.setattr("portico.gateway.openapi.document.TIMEOUT", 120.0)
