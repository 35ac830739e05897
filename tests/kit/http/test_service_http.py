import io
import re

import orjson
import pytest
from tests.examples.loans.models import Book
from tests.kit.http.wire import send

from portico.kit.auth.verification import KeyVerifier
from portico.kit.telemetry.logs import Logs, RequestLog
from portico.testing.running_service import RunningService

UNKNOWN = "/books/book_00000000000000000000000000"


class TestProblems:
    async def test_have_every_member(self, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.anonymous.get(UNKNOWN)

        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == {
            "type": "urn:portico:problem:book_not_found",
            "title": "Book not found",
            "status": 404,
            "detail": "There is no book book_00000000000000000000000000.",
            "instance": UNKNOWN,
            "code": "book_not_found",
            "request_id": answer.headers["x-request-id"],
            "book_id": "book_00000000000000000000000000",
        }

    async def test_unknown_path_is_a_404(self, embedded_loans: RunningService) -> None:
        for path in ("/", "/nowhere", "/books/", "/Books", "//books", "/books/a/b"):
            answer = await embedded_loans.anonymous.get(path)
            assert (path, answer.status_code, answer.json()["code"]) == (path, 404, "not_found")

    async def test_unsupported_method_is_a_405_with_the_allowed_ones(self, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.anonymous.delete("/books")

        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
        assert answer.json()["allowed"] == "GET, POST"

    @pytest.mark.parametrize("method", ["TRACE", "CONNECT", "BREW", "get"])
    async def test_unknown_method_is_a_405(self, method: str, embedded_loans: RunningService) -> None:
        assert (await send(embedded_loans, method, "/books")).status_code == 405


class TestAccess:
    async def test_without_a_token_is_a_401_with_a_challenge(self, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.anonymous.post("/loans", json={})

        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")

    @pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer ", "bearer x.y.z", "Bearer a b", "Bearer é"])
    async def test_with_a_malformed_token_is_a_401(self, header: str, embedded_loans: RunningService) -> None:
        answer = await send(embedded_loans, "POST", "/loans", headers=[("authorization", header)])

        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")

    async def test_with_an_expired_token_says_so(self, embedded_loans: RunningService) -> None:
        caller = embedded_loans.bearing(embedded_loans.issuer.token(lasting=60))
        embedded_loans.clock.advance(3600)

        answer = await caller.post("/loans", json={})

        assert (answer.status_code, answer.json()["reason"]) == (401, "expired")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]

    async def test_names_the_missing_permission(self, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.as_user("books:read").post("/books", json={"title": "Dune"})

        assert (answer.status_code, answer.json()["permission"]) == (403, "books:write")

    async def test_for_services_rejects_users(self, embedded_loans: RunningService) -> None:
        path = "/loans/loan_00000000000000000000000000"

        assert (await embedded_loans.as_user("*").delete(path)).json()["code"] == "services_only"
        assert (await embedded_loans.as_service("orders").delete(path)).status_code == 404

    async def test_for_users_rejects_services(self, embedded_loans: RunningService) -> None:
        assert (await embedded_loans.as_service("orders").post("/loans", json={})).json()["code"] == "users_only"

    async def test_is_checked_before_the_body(self, embedded_loans: RunningService) -> None:
        assert (await embedded_loans.anonymous.post("/books", json={"titel": 5})).status_code == 401
        assert (await embedded_loans.as_user().post("/books", json={"titel": 5})).status_code == 403

    async def test_to_public_routes_ignores_an_invalid_token(self, embedded_loans: RunningService) -> None:
        assert (await embedded_loans.bearing("nonsense").get("/books")).status_code == 200

    async def test_while_tokens_cannot_be_verified_is_a_503_with_retry_after(
        self, embedded_loans: RunningService
    ) -> None:
        issuer = embedded_loans.issuer
        issuer.down = True
        embedded_loans.context.verifier = KeyVerifier(issuer, issuer.form, embedded_loans.clock)  # has no keys yet
        caller = embedded_loans.as_user()

        answer = await caller.post("/loans", json={})

        assert (answer.status_code, answer.json()["code"]) == (503, "caller_unknown")
        assert int(answer.headers["retry-after"]) >= 1
        assert (await caller.get("/books")).status_code == 200


class TestRequestIds:
    async def test_are_accepted_from_the_caller(self, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.anonymous.get("/books", headers={"x-request-id": "order-7.retry:2"})

        assert answer.headers["x-request-id"] == "order-7.retry:2"

    async def test_are_generated_if_missing(self, embedded_loans: RunningService) -> None:
        made = {(await embedded_loans.anonymous.get("/books")).headers["x-request-id"] for _ in range(20)}

        assert len(made) == 20
        assert all(re.fullmatch("[0-9a-f]{16}", each) for each in made)

    @pytest.mark.parametrize("forged", ["", "a b", "x" * 129, 'a"b', "a\r\nset-cookie: b", "é", "<script>", "\x00"])
    async def test_are_replaced_if_they_could_do_harm(self, forged: str, embedded_loans: RunningService) -> None:
        answer = await send(embedded_loans, "GET", "/books", headers=[("x-request-id", forged)])

        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


class TestHeaders:
    async def test_security_headers_are_on_every_response(self, embedded_loans: RunningService) -> None:
        for path in ("/books", UNKNOWN, "/nowhere", "/health", "/docs"):
            headers = (await embedded_loans.anonymous.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"

    async def test_responses_with_a_token_are_not_stored_by_caches(self, embedded_loans: RunningService) -> None:
        assert (await embedded_loans.as_user().get("/books")).headers["cache-control"] == "no-store"
        assert "cache-control" not in (await embedded_loans.anonymous.get("/books")).headers


class TestCors:
    async def test_allows_configured_origins(self, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.anonymous.get("/books", headers={"origin": "http://localhost:3000"})

        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "X-Total-Count" in answer.headers["access-control-expose-headers"]
        assert "origin" in answer.headers["vary"].lower()

    async def test_rejects_other_origins(self, embedded_loans: RunningService) -> None:
        answer = await embedded_loans.anonymous.get("/books", headers={"origin": "https://evil.example"})

        assert "access-control-allow-origin" not in answer.headers

    async def test_sets_vary_without_an_origin(self, embedded_loans: RunningService) -> None:
        assert (await embedded_loans.anonymous.get("/books")).headers["vary"] == "Origin"

    async def test_answers_preflight_requests(self, embedded_loans: RunningService) -> None:
        headers = {
            "origin": "http://localhost:3000",
            "access-control-request-method": "PATCH",
            "access-control-request-headers": "authorization, if-match, idempotency-key",
        }
        answer = await embedded_loans.anonymous.request("OPTIONS", "/books", headers=headers)
        refused = await embedded_loans.anonymous.request("OPTIONS", "/books", headers={**headers, "origin": "null"})

        assert answer.status_code == 200
        assert "PATCH" in answer.headers["access-control-allow-methods"]
        assert refused.status_code == 400


class TestHealthRoutes:
    async def test_report_health_in_three_depths(self, embedded_loans: RunningService) -> None:
        alive = (await embedded_loans.anonymous.get("/health")).json()
        ready = (await embedded_loans.anonymous.get("/health/ready")).json()
        detailed = (await embedded_loans.anonymous.get("/health/detailed")).json()

        assert (alive["status"], alive["service"]) == ("healthy", "loans")
        assert ready["status"] == "ready"
        assert detailed["dependencies"]["database"]["status"] == "up"
        assert detailed["process"]["event_loop_lag_ms"] >= 0

    async def test_successful_requests_are_not_logged(self, embedded_loans: RunningService) -> None:
        stream = io.BytesIO()
        logs = Logs(stream=stream)
        embedded_loans.context.request_log = RequestLog(logs, "loans")

        for path in ("/health", "/health/ready", "/metrics", "/metrics?of=what", "/books"):
            await embedded_loans.anonymous.get(path)

        logs.close()
        response_for = [orjson.loads(line) for line in stream.getvalue().splitlines()]
        assert [(line["path"], line["status"]) for line in response_for] == [("/metrics", 422), ("/books", 200)]

    async def test_have_no_prefix_and_use_the_systems_case(self, camel_loans: RunningService) -> None:
        detailed = (await camel_loans.anonymous.get("/health/detailed")).json()

        assert "uptimeSeconds" in detailed

    async def test_metrics_are_labelled_by_route(self, embedded_loans: RunningService) -> None:
        book = await embedded_loans.given(Book(title="Dune"))
        await embedded_loans.anonymous.get(f"/books/{book.book_id}")
        await embedded_loans.anonymous.get(UNKNOWN)
        await embedded_loans.anonymous.get("/no/such/path")

        text = (await embedded_loans.anonymous.get("/metrics")).content.decode()

        assert 'method="GET",route="/books/{book_id}",status="200"} 1.0' in text
        assert 'method="GET",route="/books/{book_id}",status="404"} 1.0' in text
        assert "/no/such/path" not in text
        assert book.book_id not in text
        assert "portico_http_requests_in_flight 1.0" in text
