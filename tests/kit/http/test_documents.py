from typing import Any

from portico.kit import IntegerIdentifier, NotFound
from portico.kit.http.problems import problem_model
from portico.testing.running_service import RunningService


class SeatNumber(IntegerIdentifier):
    """Id of a seat."""


class SeatNotFound(NotFound):
    detail = "Seat {seat_number} does not exist."

    seat_number: SeatNumber


async def document(loans: RunningService) -> Any:
    answer = await loans.anonymous.get("/openapi.json")
    assert answer.status_code == 200
    return answer.json()


class TestDocument:
    async def test_uses_the_case_of_the_system(
        self, embedded_loans: RunningService, camel_loans: RunningService
    ) -> None:
        snake, camel = await document(embedded_loans), await document(camel_loans)

        assert set(snake["components"]["schemas"]["BookRead"]["properties"]) == {"book_id", "title", "lent_until"}
        assert set(camel["components"]["schemas"]["BookRead"]["properties"]) == {"bookId", "title", "lentUntil"}
        assert "request_id" in snake["components"]["schemas"]["ProblemRead"]["properties"]
        assert "requestId" in camel["components"]["schemas"]["ProblemRead"]["properties"]
        (parameter,) = [
            each for each in camel["paths"]["/api/books/{bookId}"]["get"]["parameters"] if each["in"] == "path"
        ]
        assert parameter["name"] == "bookId"

    async def test_documents_who_may_call(self, embedded_loans: RunningService) -> None:
        paths = (await document(embedded_loans))["paths"]

        assert paths["/books"]["post"]["security"] == [{"bearer": []}]
        assert paths["/books/greeting"]["get"]["security"] == [{"bearer": []}, {}]
        assert "security" not in paths["/books"]["get"]

    async def test_documents_problems_with_their_model(self, embedded_loans: RunningService) -> None:
        responses = (await document(embedded_loans))["paths"]["/loans"]["post"]["responses"]

        assert "book_already_lent" in responses["409"]["description"]
        assert set(responses["409"]["content"]) == {"application/problem+json"}
        assert {"400", "401", "403", "404", "413", "415", "422", "500", "503", "504"} <= set(responses)
        assert "Retry-After" in responses["503"]["headers"]
        assert "WWW-Authenticate" in responses["401"]["headers"]

    def test_an_integer_that_was_not_found_may_be_any_text(self) -> None:
        member = problem_model(SeatNotFound).model_json_schema()["properties"]["seat_number"]

        assert [each["type"] for each in member["anyOf"]] == ["integer", "string"]

    async def test_documents_conditional_headers(self, embedded_loans: RunningService) -> None:
        path = (await document(embedded_loans))["paths"]["/books/{book_id}"]

        assert [each["name"] for each in path["get"]["parameters"]] == ["book_id", "If-Match", "If-None-Match"]
        assert [each["name"] for each in path["put"]["parameters"]] == ["book_id", "If-Match", "If-None-Match"]
        assert "304" in path["get"]["responses"]
        assert "412" in path["put"]["responses"]
        assert "ETag" in path["get"]["responses"]["200"]["headers"]

    async def test_omits_conditional_headers_that_are_not_checked(self, embedded_loans: RunningService) -> None:
        path = (await document(embedded_loans))["paths"]["/books"]

        assert "ETag" in path["post"]["responses"]["201"]["headers"]
        assert {"If-Match", "If-None-Match"}.isdisjoint(each["name"] for each in path["post"]["parameters"])
        assert path["post"]["responses"]["412"]["description"] == "precondition_unsupported"
        assert "412" not in path["get"]["responses"]

    async def test_documents_paging_and_idempotency_keys(self, embedded_loans: RunningService) -> None:
        path = (await document(embedded_loans))["paths"]["/books"]

        assert {"X-Total-Count", "X-Total-Count-At-Least", "Link", "X-Request-ID"} == set(
            path["get"]["responses"]["200"]["headers"]
        )
        assert [each["name"] for each in path["post"]["parameters"]] == ["Idempotency-Key"]

    async def test_every_operation_has_a_summary(self, embedded_loans: RunningService) -> None:
        paths = (await document(embedded_loans))["paths"]

        assert paths["/loans"]["post"]["summary"] == "Lend a book to the caller for two weeks"

    async def test_omits_metrics(self, embedded_loans: RunningService) -> None:
        assert "/metrics" not in (await document(embedded_loans))["paths"]
