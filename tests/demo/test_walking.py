import io
from collections.abc import AsyncIterator

import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from portico.demo.walkthrough import Answer, NoAnswer, NotAsItShouldBe, Walk
from portico.testing.loopback import served


class Shop:
    """Answers what the test lined up, one after the other, and remembers who asked for what."""

    def __init__(self) -> None:
        self.answers: list[JSONResponse] = []
        self.tokens: list[str | None] = []
        self.keys: list[str | None] = []

    async def answer(self, request: Request) -> JSONResponse:
        self.tokens.append(request.headers.get("authorization"))
        self.keys.append(request.headers.get("idempotency-key"))
        return self.answers.pop(0)

    async def tell(self, socket: WebSocket) -> None:
        self.tokens.append(socket.headers.get("authorization"))
        await socket.accept()
        for status in ("pending", "confirmed"):
            await socket.send_json({"status": status})
        await socket.close()


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
async def walk(shop: Shop, said: io.StringIO) -> AsyncIterator[Walk]:
    live = WebSocketRoute("/orders/1/live", shop.tell)
    app = Starlette(routes=[live, Route("/{path:path}", shop.answer, methods=["GET", "POST"])])
    async with served(app) as address, Walk(Console(file=said, width=200), address) as walk:
        yield walk


def answer(status: int, content: bytes) -> Answer:
    return Answer("GET /products", status, {}, content, 0.001)


class TestAnswer:
    def test_as_expected_is_given_back(self) -> None:
        good = answer(200, b'{"code":"fine"}')

        assert good.expect(200, code="fine") is good

    def test_another_status_ends_the_walk_with_what_came(self) -> None:
        with pytest.raises(NotAsItShouldBe, match="GET /products should answer 200, and answered 500: oh no"):
            answer(500, b"oh no").expect(200)

    def test_another_member_ends_the_walk(self) -> None:
        with pytest.raises(NotAsItShouldBe, match="should say code='fine', and says 'bad'"):
            answer(200, b'{"code":"bad"}').expect(200, code="fine")

    def test_what_is_no_json_ends_the_walk(self) -> None:
        with pytest.raises(NotAsItShouldBe, match="not JSON"):
            answer(200, b"<html>").json()


class TestWalk:
    async def test_a_call_is_printed_with_its_answer(self, walk: Walk, shop: Shop, said: io.StringIO) -> None:
        shop.answers = [JSONResponse({"name": "Lamp"})]

        await walk.call("GET", "/products/1", token="abc")

        assert "200 GET /products/1" in said.getvalue()
        assert '{"name":"Lamp"}' in said.getvalue()
        assert shop.tokens == ["Bearer abc"]

    async def test_429_is_heeded(self, walk: Walk, shop: Shop, said: io.StringIO) -> None:
        shop.answers = [JSONResponse({}, 429, {"retry-after": "0"}), JSONResponse({"name": "Lamp"})]

        answer = await walk.call("GET", "/products/1")

        assert answer.status == 200
        assert "waiting 0 s, as it asks" in said.getvalue()

    async def test_429_for_too_long_ends_the_walk(self, walk: Walk, shop: Shop) -> None:
        shop.answers = [JSONResponse({}, 429, {"retry-after": "3600"})]

        with pytest.raises(NotAsItShouldBe, match="asks to come again in 3600 s"):
            await walk.call("GET", "/products/1")

    async def test_nobody_there_ends_the_walk(self, said: io.StringIO) -> None:
        async with Walk(Console(file=said), "http://127.0.0.1:1") as walk:
            with pytest.raises(NotAsItShouldBe, match="got no answer"):
                await walk.call("GET", "/health")

    async def test_what_does_not_come_true_ends_the_walk(self, walk: Walk) -> None:
        async def never() -> bool:
            return False

        with pytest.raises(NotAsItShouldBe, match="still not so that pigs fly"):
            await walk.until(never, within=0.0, what="pigs fly")

    def test_what_does_not_hold_ends_the_walk(self, said: io.StringIO) -> None:
        with pytest.raises(NotAsItShouldBe, match="pages agree"):
            Walk(Console(file=said), "").check(False, "pages agree")


class TestInsisting:
    async def test_what_is_not_final_is_sent_again_by_the_same_key(
        self, walk: Walk, shop: Shop, said: io.StringIO
    ) -> None:
        shop.answers = [
            JSONResponse({}, 503, {"retry-after": "0"}),
            JSONResponse({}, 500),
            JSONResponse({}, 409, {"retry-after": "0"}),
            JSONResponse({}, 429, {"retry-after": "0"}),
            JSONResponse({"code": "price_changed"}, 409),
        ]

        answer = await walk.insist("POST", "/orders", json={}, key="once")

        assert answer.expect(409, code="price_changed")
        assert shop.keys == ["once"] * 5
        assert walk.repeats == 4
        assert "POST" not in said.getvalue()

    async def test_waiting_as_a_limit_asks_is_no_failure_and_is_told_once(
        self, walk: Walk, shop: Shop, said: io.StringIO
    ) -> None:
        shop.answers = [*(JSONResponse({}, 429, {"retry-after": "0"}) for _ in range(2)), JSONResponse({})]

        (await walk.insist("GET", "/orders", within=0.5)).expect(200)

        assert said.getvalue().count("they wait as it asks") == 1

    async def test_it_gives_up(self, walk: Walk, shop: Shop) -> None:
        shop.answers = [JSONResponse({"oh": "no"}, 500)]

        with pytest.raises(NotAsItShouldBe, match=r"no final answer after 0 s; last came: 500 .*no"):
            await walk.insist("GET", "/orders", within=0)

    async def test_nobody_there_is_not_final_either(self, said: io.StringIO) -> None:
        async with Walk(Console(file=said), "http://127.0.0.1:1") as walk:
            with pytest.raises(NotAsItShouldBe, match="last came: GET /orders got no answer"):
                await walk.insist("GET", "/orders", within=0)


class TestFollowing:
    async def test_what_is_told_is_printed_up_to_what_was_waited_for(
        self, walk: Walk, shop: Shop, said: io.StringIO
    ) -> None:
        told = await walk.follow("/orders/1/live", token="abc", until=lambda each: each["status"] == "confirmed")

        assert [each["status"] for each in told] == ["pending", "confirmed"]
        assert said.getvalue().count("↯") == 2
        assert shop.tokens == ["Bearer abc"]

    async def test_who_never_tells_it_gave_no_answer(self, walk: Walk, said: io.StringIO) -> None:
        with pytest.raises(NoAnswer, match="ended early"):
            await walk.follow("/orders/1/live", token="abc", until=lambda _: False, quiet=True)

        assert said.getvalue() == ""

    async def test_nobody_there_is_no_answer(self, said: io.StringIO) -> None:
        async with Walk(Console(file=said), "http://127.0.0.1:1") as walk:
            with pytest.raises(NoAnswer, match="broke off after 0 messages"):
                await walk.follow("/orders/1/live", token="abc", until=lambda _: True)
