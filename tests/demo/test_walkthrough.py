import io
from collections.abc import AsyncIterator

import pytest
from rich.console import Console
from starlette.responses import JSONResponse
from tests.support.scripted_gateway import ScriptedGateway

from portico.demo.walkthrough import Walk
from portico.gateway_client import ExpectationFailed, NoResponse


@pytest.fixture
def gateway() -> ScriptedGateway:
    return ScriptedGateway()


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
async def walk(gateway: ScriptedGateway, output: io.StringIO) -> AsyncIterator[Walk]:
    async with gateway.serve() as address, Walk(Console(file=output, width=200), address) as walk:
        yield walk


class TestWalk:
    async def test_a_call_is_printed_with_its_response(
        self, walk: Walk, gateway: ScriptedGateway, output: io.StringIO
    ) -> None:
        gateway.script = [JSONResponse({"name": "Lamp"})]

        await walk.call("GET", "/products/1", token="abc")

        assert "200 GET /products/1" in output.getvalue()
        assert '{"name":"Lamp"}' in output.getvalue()
        assert gateway.tokens == ["Bearer abc"]
        assert "1 requests" in walk.summary()

    async def test_a_rate_limited_call_is_repeated(
        self, walk: Walk, gateway: ScriptedGateway, output: io.StringIO
    ) -> None:
        gateway.script = [JSONResponse({}, 429, {"retry-after": "0"}), JSONResponse({"name": "Lamp"})]

        response = await walk.call("GET", "/products/1")

        assert response.status == 200
        assert "rate limited (429), waiting 0 s" in output.getvalue()

    async def test_a_long_rate_limit_ends_the_walk(self, walk: Walk, gateway: ScriptedGateway) -> None:
        gateway.script = [JSONResponse({}, 429, {"retry-after": "3600"})]

        with pytest.raises(ExpectationFailed, match="retry after 3600 s"):
            await walk.call("GET", "/products/1")

    async def test_no_server_ends_the_walk(self, output: io.StringIO) -> None:
        async with Walk(Console(file=output), "http://127.0.0.1:1") as walk:
            with pytest.raises(NoResponse, match="no response"):
                await walk.call("GET", "/health")

    async def test_a_condition_that_never_holds_ends_the_walk(self, walk: Walk) -> None:
        async def never() -> bool:
            return False

        with pytest.raises(ExpectationFailed, match="Expected within 0 s: pigs fly"):
            await walk.until(never, within=0.0, what="pigs fly")

    def test_a_failed_check_ends_the_walk(self, output: io.StringIO) -> None:
        with pytest.raises(ExpectationFailed, match="pages agree"):
            Walk(Console(file=output), "").check(False, "pages agree")


class TestClient:
    async def test_retries_are_counted_and_not_printed(
        self, walk: Walk, gateway: ScriptedGateway, output: io.StringIO
    ) -> None:
        gateway.script = [JSONResponse({}, 503, {"retry-after": "0"}), JSONResponse({})]

        (await walk.client().request_until_final("POST", "/orders", {}, key="once")).expect(200)

        assert walk.retries == 1
        assert output.getvalue() == ""

    async def test_rate_limits_are_printed_once(
        self, walk: Walk, gateway: ScriptedGateway, output: io.StringIO
    ) -> None:
        gateway.script = [*(JSONResponse({}, 429, {"retry-after": "0"}) for _ in range(2)), JSONResponse({})]

        (await walk.client(within=0.5).request_until_final("GET", "/orders")).expect(200)

        assert output.getvalue().count("wait as required") == 1


class TestFollow:
    async def test_messages_are_printed_until_the_condition_holds(
        self, walk: Walk, gateway: ScriptedGateway, output: io.StringIO
    ) -> None:
        received = await walk.follow("/orders/1/live", token="abc", until=lambda each: each["status"] == "confirmed")

        assert [each["status"] for each in received] == ["pending", "confirmed"]
        assert output.getvalue().count("↯") == 2
        assert gateway.tokens == ["Bearer abc"]

    async def test_a_websocket_that_closes_early_is_an_error(self, walk: Walk, output: io.StringIO) -> None:
        with pytest.raises(NoResponse, match="closed early"):
            await walk.follow("/orders/1/live", token="abc", until=lambda _: False, quiet=True)

        assert output.getvalue() == ""

    async def test_no_server_is_an_error(self, output: io.StringIO) -> None:
        async with Walk(Console(file=output), "http://127.0.0.1:1") as walk:
            with pytest.raises(NoResponse, match="failed after 0 messages"):
                await walk.follow("/orders/1/live", token="abc", until=lambda _: True)
