from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from starlette.responses import JSONResponse
from tests.support.scripted_gateway import ScriptedGateway

from portico.gateway_client import ChannelTransport, ExpectationFailed, HttpTransport, NoResponse, Response, RetryPolicy
from portico.kit.calls.errors import ConnectionLost
from portico.shop_client import ShopClient, kept_amount, order_draft, order_item
from portico.testing.channels import ScriptedChannel, canned_response

WITHOUT_DELAY = RetryPolicy(within=20.0, min_delay=0.0, max_delay=0.0, obeys_retry_after=False)


@pytest.fixture
def gateway() -> ScriptedGateway:
    return ScriptedGateway()


@pytest.fixture
async def client(gateway: ScriptedGateway) -> AsyncIterator[ShopClient]:
    async with gateway.serve() as address, HttpTransport(address) as transport:
        yield ShopClient(transport, retry=WITHOUT_DELAY)


def response(status: int, content: bytes) -> Response:
    return Response("GET /products", status, {}, content)


class TestResponse:
    def test_as_expected_is_returned(self) -> None:
        good = response(200, b'{"code":"fine"}')

        assert good.expect(200, code="fine") is good

    def test_with_another_status_is_an_error(self) -> None:
        with pytest.raises(ExpectationFailed, match="GET /products: expected status 200, got 500: oh no"):
            response(500, b"oh no").expect(200)

    def test_with_another_member_is_an_error(self) -> None:
        with pytest.raises(ExpectationFailed, match="expected code='fine', got 'bad'"):
            response(200, b'{"code":"bad"}').expect(200, code="fine")

    def test_without_json_is_an_error(self) -> None:
        with pytest.raises(ExpectationFailed, match="not JSON"):
            response(200, b"<html>").json()


class TestRequest:
    async def test_carries_token_and_key(self, client: ShopClient, gateway: ScriptedGateway) -> None:
        gateway.script = [JSONResponse({"name": "Lamp"})]

        found = await replace(client, token="abc").request("GET", "/products/1", key="once")

        assert found.json() == {"name": "Lamp"}
        assert (gateway.tokens, gateway.keys) == (["Bearer abc"], ["once"])

    async def test_without_a_server_has_no_response(self) -> None:
        async with HttpTransport("http://127.0.0.1:1") as transport:
            with pytest.raises(NoResponse, match="GET /health: no response"):
                await ShopClient(transport).request("GET", "/health")

    async def test_goes_through_a_channel_with_its_query(self) -> None:
        channel = ScriptedChannel(canned_response(body=b"[]", headers=[(b"link", b"<next>")]))

        found = await ShopClient(ChannelTransport(channel)).request("GET", "/products?limit=1")

        assert (found.json(), found.headers["link"]) == ([], "<next>")
        assert (channel.sent[0].path, channel.sent[0].query) == ("/products", b"limit=1")


class TestRequestUntilFinal:
    async def test_repeats_with_the_same_key(self, client: ShopClient, gateway: ScriptedGateway) -> None:
        outcomes: list[Response | NoResponse] = []
        gateway.script = [
            JSONResponse({}, 503, {"retry-after": "0"}),
            JSONResponse({}, 500),
            JSONResponse({}, 409, {"retry-after": "0"}),
            JSONResponse({}, 429, {"retry-after": "0"}),
            JSONResponse({"code": "price_changed"}, 409),
        ]

        found = await replace(client, on_retry=outcomes.append).request_until_final("POST", "/orders", {}, key="once")

        assert found.expect(409, code="price_changed")
        assert gateway.keys == ["once"] * 5
        assert len(outcomes) == 4

    async def test_repeats_after_a_lost_connection(self) -> None:
        channel = ScriptedChannel(ConnectionLost("gateway", "closed"), canned_response())

        found = await ShopClient(ChannelTransport(channel), retry=WITHOUT_DELAY).request_until_final("GET", "/orders")

        assert found.status == 200

    async def test_gives_up_with_the_last_response(self, client: ShopClient, gateway: ScriptedGateway) -> None:
        gateway.script = [JSONResponse({"oh": "no"}, 500)]

        with pytest.raises(NoResponse, match=r"no final response in 0 s; last: 500 .*no"):
            await replace(client, retry=RetryPolicy(within=0)).request_until_final("GET", "/orders")


class TestAccounts:
    async def test_a_registered_client_is_signed_in(self, client: ShopClient, gateway: ScriptedGateway) -> None:
        session = {"access_token": "abc", "user": {"user_id": "usr_1"}}
        gateway.script = [JSONResponse({"email": "jane@example.com"}, 201), JSONResponse(session)]

        jane = await client.register("jane@example.com", "a long enough password")

        assert (jane.token, jane.user_id, client.token) == ("abc", "usr_1", "")


class TestOrders:
    async def test_a_placed_order_has_an_id(self, client: ShopClient, gateway: ScriptedGateway) -> None:
        gateway.script = [JSONResponse({"order_id": "ord_1", "status": "pending"}, 201)]

        assert await client.place_order(order_draft(order_item("prod_1", 2))) == "ord_1"
        assert gateway.keys[0]

    async def test_an_order_is_followed_until_a_status(self, client: ShopClient, gateway: ScriptedGateway) -> None:
        gateway.script = [JSONResponse({"ticket": "t"}, 201)]

        assert await client.follow_order("1", ["confirmed"]) == {"status": "confirmed"}

    async def test_a_websocket_that_closes_early_is_an_error(
        self, client: ShopClient, gateway: ScriptedGateway
    ) -> None:
        gateway.script = [JSONResponse({"ticket": "t"}, 201)]

        with pytest.raises(NoResponse, match="closed early"):
            await client.follow_order("1", ["failed"])

    def test_the_kept_amount_is_net_of_refunds(self) -> None:
        payment = {"amount": 20.0, "refunded": 5.0, "status": "succeeded"}

        assert kept_amount(payment) == 15.0
        assert kept_amount({**payment, "status": "failed"}) == 0.0
