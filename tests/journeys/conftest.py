import pytest
from tests.support.stranger import Stranger


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    """Return one environment with Portico's wheel for the whole run."""
    return Stranger.arriving(tmp_path_factory.mktemp("stranger"))
