"""One order is one trace: through the gateway, the called services and their events. Polls are no traces."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.journeys.shop import TIMEOUT, run_shop

Spans = dict[str, set[tuple[str, str]]]

POLLED = ("/health", "/metrics", "/revocations", "/.well-known/jwks.json")


@asynccontextmanager
async def collector(spans: Spans) -> AsyncIterator[str]:
    """Run an OTLP collector that adds the service and name of each span to `spans`, by trace."""

    async def take(request: web.Request) -> web.Response:
        request_body = ExportTraceServiceRequest.FromString(await request.read())
        for of_service in request_body.resource_spans:
            names = {each.key: each.value.string_value for each in of_service.resource.attributes}
            for scope in of_service.scope_spans:
                for span in scope.spans:
                    spans[span.trace_id.hex()].add((names["service.name"], span.name))
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    _, port = runner.addresses[0][:2]
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


class TestAnOrder:
    async def test_is_one_trace_through_calls_and_events(self, tmp_path: Path) -> None:
        spans: Spans = defaultdict(set)
        async with collector(spans) as endpoint:
            variables = {"DATA_DIR": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
            async with run_shop(variables) as shop:
                order_id = await shop.order(1)
                await shop.jane.follow_order(order_id, ["confirmed"])
                async with asyncio.timeout(TIMEOUT):
                    while not await shop.admin.get("/mailbox"):
                        pass
                for path in ("/health", "/health/ready", "/metrics", "/openapi.json"):
                    await shop.admin.request_until_final("GET", path)

        [placed] = [found for found in spans.values() if ("orders", "POST /orders") in found]
        assert {
            ("gateway", "POST /orders"),
            ("catalog", "GET /products"),
            ("orders", "place-order do reserve-stock"),
            ("catalog", "PUT /inventory/reservations/{reservation_id}"),
            ("orders", "place-order do take-payment"),
            ("payments", "POST /payments"),
            ("notifications", "queue-order-mail"),
            ("notifications", "send_mail"),
        } <= placed
        served = {name for found in spans.values() for _, name in found}
        assert {name for name in served if name == "GET" or any(path in name for path in POLLED)} == set()
