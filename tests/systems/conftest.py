from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _patient_document() -> Iterator[None]:
    """Let services take as long as they need for their documents, also on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("portico.gateway.openapi.document.TIMEOUT", 120.0)
        yield
