from collections.abc import AsyncIterator

import pytest
from tests.journeys.box_office import RunningBoxOffice
from tests.journeys.rows import BACKENDS, office_on
from tests.support.stranger import Stranger


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    """Return one environment with Portico's wheel for the whole run."""
    return Stranger.arriving(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module", params=BACKENDS)
async def office(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBoxOffice]:
    """Run ticketing on each backend, once for the tests of a file."""
    async with office_on(request, tmp_path_factory.mktemp("rows")) as office:
        yield office
