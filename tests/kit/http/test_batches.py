"""Batch endpoints: derived from single ones, with a status and a problem for each request."""

import asyncio
from typing import Annotated, Any

import pytest
from fastapi import Header, Response
from tests.examples.loans.errors import BookNotFound
from tests.examples.loans.ids import BookId
from tests.kit.http.conftest import Extended
from tests.kit.telemetry.recording import Recording, linked, span_id, trace_id

from portico.kit import Context, FromService, Router, Schema, Work
from portico.kit.foundation import Conflict, NotFound
from portico.kit.foundation.problems import Unavailable
from portico.kit.http import add_batch_route, batches
from portico.kit.telemetry.context import RequestContext, request_context
from portico.kit.telemetry.trace_context import TraceContext

PATH = "/shelf/books/batch"


class BookPut(Schema):
    title: str
    pages: int


class BookRead(Schema):
    book_id: BookId
    title: str
    kept_key: str | None


class Stolen(Conflict):
    detail = "The book was stolen."


class Shelf:
    """A router with one endpoint and its batch."""

    def __init__(self) -> None:
        self.router = Router(prefix="/shelf")
        self.keys: list[str | None] = []
        self.contexts: list[RequestContext | None] = []
        self.opened = asyncio.Event()
        self.cancelled: list[BookId] = []

        @self.router.put("/books/{book_id}", status_code=201, response_model=BookRead, errors=[BookNotFound])
        async def put_book(
            book_id: BookId,
            draft: BookPut,
            caller: FromService,
            context: Context,
            response: Response,
            idempotency_key: Annotated[str | None, Header(alias="Idempotency-Key")] = None,
        ) -> dict[str, Any]:
            self.keys.append(idempotency_key)
            self.contexts.append(request_context.get())
            if draft.title == "stolen":
                raise Stolen
            if draft.title == "later":
                raise Unavailable(retry_after=7.0)
            if draft.title == "broken":
                raise RuntimeError("a secret")
            if draft.title == "slow":
                try:
                    await self.opened.wait()
                except asyncio.CancelledError:
                    self.cancelled.append(book_id)
                    raise
            if draft.title == "known":
                response.status_code = 200
            return {"book_id": book_id, "title": f"{draft.title} for {caller.subject}", "kept_key": idempotency_key}

        add_batch_route(self.router, "/books/batch", of=put_book, max_requests=4)


def item(title: str, **more: Any) -> dict[str, Any]:
    path = f"/shelf/books/{BookId.new()}"
    return {"method": "PUT", "path": path, "body": {"title": title, "pages": 3}, **more}


class TestTraces:
    async def test_each_request_is_handled_in_the_trace_of_its_caller(self, embedded_extended: Extended) -> None:
        shelf, recording = Shelf(), Recording()
        callers = [TraceContext(f"{number:032x}", "a" * 16, sampled=True) for number in (1, 2, 3)]
        titles = ("Emma", "stolen", "slow")
        items = [
            item(title, trace=str(each), request_id=f"req-{title}") for title, each in zip(titles, callers, strict=True)
        ]
        async with embedded_extended(shelf.router) as loans:
            loans.context.tracing = recording.tracing
            answer = await loans.as_service("orders").post(PATH, json=items)

        assert [each and (each.request_id, each.trace_id) for each in shelf.contexts] == [
            (f"req-{title}", each.trace_id) for title, each in zip(titles, callers, strict=True)
        ]
        assert answer.json()[1]["body"]["request_id"] == "req-stolen"
        spans = await recording.spans()
        [whole] = [span for span in spans if not span.links]
        handled = sorted((span for span in spans if span.links), key=trace_id)
        assert [trace_id(span) for span in handled] == [each.trace_id for each in callers]
        assert [linked(span) for span in handled] == [{span_id(whole)}] * 3
        assert {span.name for span in handled} == {"PUT /shelf/books/{book_id}"}
        attributes = [span.attributes or {} for span in handled]
        assert [each.get("http.response.status_code") for each in attributes] == [201, 409, None]
        assert attributes[2]["error.type"] == "not_ready"

    async def test_an_item_without_a_trace_begins_one(self, embedded_extended: Extended) -> None:
        shelf = Shelf()
        async with embedded_extended(shelf.router) as loans:
            answer = await loans.as_service("orders").post(PATH, json=[item("Emma"), item("known")])

        first, second = (each for each in shelf.contexts if each is not None)
        assert first.trace_id != second.trace_id
        assert first.request_id == second.request_id == answer.headers["x-request-id"]


class TestBatch:
    async def test_each_request_has_its_own_status_and_body(self, embedded_extended: Extended) -> None:
        async with embedded_extended(Shelf().router) as loans:
            answer = await loans.as_service("orders").post(PATH, json=[item("Emma"), item("known")])

        assert answer.status_code == 200
        found = answer.json()
        assert [each["status"] for each in found] == [201, 200]
        assert found[0]["body"]["title"] == "Emma for service:orders"

    async def test_a_refusal_concerns_its_request_only(self, embedded_extended: Extended) -> None:
        items = [item("stolen"), item("Emma"), item("later"), item("broken")]
        async with embedded_extended(Shelf().router) as loans:
            found = (await loans.as_service("orders").post(PATH, json=items)).json()

        assert [each["status"] for each in found] == [409, 201, 503, 500]
        assert (found[0]["body"]["code"], found[0]["body"]["instance"]) == ("stolen", items[0]["path"])
        assert found[2]["headers"] == {"retry-after": "7"}
        assert "secret" not in str(found[3])

    async def test_each_request_is_validated(self, embedded_extended: Extended) -> None:
        wrong = [
            item("Emma", body={"title": "Emma", "pages": "three"}),
            item("Emma", body=None),
            item("Emma", path="/shelf/books/nothing"),
            item("Emma", path="/shelf/other/1", method="PUT"),
        ]
        async with embedded_extended(Shelf().router) as loans:
            caller = loans.as_service("orders")
            found = (await caller.post(PATH, json=wrong)).json()
            alone = await caller.put(f"/shelf/books/{BookId.new()}", json={"title": "Emma", "pages": "three"})

        assert [each["status"] for each in found] == [422, 422, 404, 404]
        assert found[0]["body"]["errors"] == alone.json()["errors"]

    async def test_each_request_has_its_own_key(self, embedded_extended: Extended) -> None:
        shelf = Shelf()
        async with embedded_extended(shelf.router) as loans:
            await loans.as_service("orders").post(
                PATH, json=[item("Emma", key="a"), item("Emma", key="b"), item("Emma")]
            )

        assert shelf.keys == ["a", "b", None]

    async def test_a_request_that_is_not_ready_delays_no_other(
        self, embedded_extended: Extended, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batches, "READY_WITHIN", 0.05)
        shelf = Shelf()
        async with embedded_extended(shelf.router) as loans:
            found = (
                await loans.as_service("orders").post(PATH, json=[item("Emma"), item("slow"), item("Emma")])
            ).json()

        assert [each["status"] for each in found] == [201, None, 201]
        assert len(shelf.cancelled) == 1

    async def test_the_number_of_requests_is_limited(self, embedded_extended: Extended) -> None:
        async with embedded_extended(Shelf().router) as loans:
            answers = [await loans.as_service("orders").post(PATH, json=[item("Emma")] * n) for n in (0, 4, 5)]

        assert [answer.status_code for answer in answers] == [422, 200, 422]

    async def test_only_those_may_send_it_who_may_send_the_single_request(self, embedded_extended: Extended) -> None:
        async with embedded_extended(Shelf().router) as loans:
            answers = [
                await loans.anonymous.post(PATH, json=[item("Emma")]),
                await loans.as_user().post(PATH, json=[item("Emma")]),
            ]

        assert [answer.status_code for answer in answers] == [401, 403]


class TestDeclaration:
    def test_an_endpoint_with_a_unit_of_work_has_no_batch(self) -> None:
        router = Router(prefix="/shelf")

        @router.put("/books/{book_id}")
        async def put_book(book_id: BookId, caller: FromService, work: Work) -> None:
            raise NotFound

        with pytest.raises(TypeError, match="takes work"):
            add_batch_route(router, "/books/batch", of=put_book)

    def test_an_endpoint_that_is_not_declared_has_no_batch(self) -> None:
        async def put_book(book_id: BookId) -> None:
            raise NotFound

        with pytest.raises(TypeError, match="has no route"):
            add_batch_route(Router(), "/books/batch", of=put_book)
