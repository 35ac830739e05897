from tests.examples.loans.models import Book

from portico.testing.fuzzing import Fuzzing
from portico.testing.running_service import RunningService


class TestLoans:
    async def test_every_response_matches_the_openapi_document(self, embedded_loans: RunningService) -> None:
        await _fuzz(embedded_loans)

    async def test_every_response_matches_the_openapi_document_in_camel_case(self, camel_loans: RunningService) -> None:
        await _fuzz(camel_loans)


async def _fuzz(loans: RunningService) -> None:
    book = await loans.given(Book(title="Dune"), Book(title="Solaris"))
    bearers = [
        loans.issuer.token(permissions=["books:write"], lasting=10_000_000),
        loans.issuer.token("service:orders", lasting=10_000_000),
        None,
        loans.issuer.token(lasting=-1),
    ]

    asked = await Fuzzing(loans, bearers, known={"book_id": [book.book_id]}).run()

    assert asked == len([*_operations(loans)])


def _operations(loans: RunningService) -> list[str]:
    # health in three depths, and every route of the service
    return ["/health", "/health/ready", "/health/detailed"] + [
        route.path for router in loans.context.service.routers for route in router.routes
    ]
