"""Loans: who has which book, and until when. The service that the kit's own tests run."""

from tests.examples.loans import endpoints, models, saga
from tests.examples.loans.events import BookLent
from tests.examples.loans.settings import LoansSettings

from portico.kit import Service

service = Service(
    name="loans",
    summary="Who has which book, and until when",
    module=__name__,
    routers=[endpoints.router, endpoints.books],
    publishes=[BookLent],
    sagas=[saga.lend_for_deposit],
    tables=models.Table.metadata,
    settings=LoansSettings,
)
