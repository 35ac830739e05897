"""What a collector and Prometheus get from a running commerce system: an order is one trace, and all metrics exist."""

import asyncio
import json
import re
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp
from tests.journeys.shop import TIMEOUT, create_product, run_shop
from tests.support.programs import program

from portico.cli.export import monitoring_files
from portico.gateway.export.prometheus import alerts_of
from portico.kit.calls.channel import Outgoing
from portico.kit.calls.local import LocalChannel
from portico.kit.runtime.system import GATEWAY
from portico.kit.settings import Environment
from portico.shop_client import order_draft, order_item
from portico.systems.catalog import catalog
from portico.systems.commerce import commerce
from portico.systems.composition import Composition

POLLED = ("/health", "/metrics", "/revocations", "/.well-known/jwks.json")
ORDERS = 8
PROCESS_METRICS = {"up"}  # Prometheus adds it


@dataclass
class Span:
    """A span as the collector gets it."""

    service: str
    name: str
    parent: str
    links: tuple[str, ...] = ()


@dataclass
class Observed:
    """What the system sent and showed: spans by trace and id, and metrics by part."""

    spans: dict[str, dict[str, Span]] = field(default_factory=lambda: defaultdict(dict))
    metrics: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def collector(observed: Observed) -> AsyncIterator[str]:
    """Run an OTLP collector that adds each span to `observed`."""

    async def take(request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for of_service in sent.resource_spans:
            names = {each.key: each.value.string_value for each in of_service.resource.attributes}
            for span in (span for scope in of_service.scope_spans for span in scope.spans):
                links = tuple(link.span_id.hex() for link in span.links)
                found = Span(names["service.name"], span.name, span.parent_span_id.hex(), links)
                observed.spans[span.trace_id.hex()][span.span_id.hex()] = found
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


async def observe(folder: Path) -> Observed:
    """Place an order in a running system, wait for its mail, and read all metrics."""
    observed = Observed()
    async with collector(observed) as endpoint:
        variables = {"DATA_DIR": str(folder), "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        async with run_shop(variables) as shop:
            order_id = await shop.order(1)
            await shop.jane.follow_order(order_id, ["confirmed"])
            async with asyncio.timeout(TIMEOUT):
                while not await shop.admin.get("/mailbox"):
                    pass
            for path in ("/health", "/health/ready", "/openapi.json"):
                await shop.admin.request_until_final("GET", path)
            for part in commerce.ports:
                observed.metrics[part] = await metrics_of(shop.apps, part)
    variables = {"DATA_DIR": str(folder / "gateway")}
    async with Composition(commerce, Environment(variables), parts=[GATEWAY], background=False) as alone:
        observed.metrics["gateway alone"] = await metrics_of(alone.apps, GATEWAY)
    return observed


async def observe_simultaneous_orders(folder: Path) -> Observed:
    """Place orders at the same moment in a running system until calls of their sagas have been batched."""
    observed = Observed()
    async with collector(observed) as endpoint:
        variables = {"DATA_DIR": str(folder), "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        async with run_shop(variables) as shop:
            lamp = await create_product(shop.admin, "LAMP-2", pieces=1000)
            async with asyncio.timeout(TIMEOUT):
                while "/inventory/reservations/batch" not in observed.metrics.get("catalog", ""):
                    draft = order_draft(order_item(lamp, 1))
                    for order_id in await asyncio.gather(*(shop.jane.place_order(draft) for _ in range(ORDERS))):
                        await shop.jane.follow_order(order_id, ["confirmed"])
                    observed.metrics["catalog"] = await metrics_of(shop.apps, "catalog")
    return observed


async def metrics_of(apps: Mapping[str, ASGIApp], part: str) -> str:
    """Return the metrics of the gateway or of a service."""
    channel = LocalChannel(apps)
    response = await channel.send(Outgoing(service=part, method="GET", path="/metrics", timeout=TIMEOUT))
    await channel.aclose()
    return response.body.decode()


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Observed:
    return asyncio.run(observe(tmp_path_factory.mktemp("shop")))


class TestTraces:
    def test_an_order_is_one_trace_through_calls_and_events(self, observed: Observed) -> None:
        traces = [[(span.service, span.name) for span in spans.values()] for spans in observed.spans.values()]

        [placed] = [found for found in traces if ("orders", "POST /orders") in found]
        assert {
            ("gateway", "POST /orders"),
            ("catalog", "GET /products"),
            ("orders", "place-order do reserve-stock"),
            ("catalog", "PUT /inventory/reservations/{reservation_id}"),
            ("orders", "place-order do take-payment"),
            ("payments", "POST /payments"),
            ("notifications", "queue-order-mail"),
            ("notifications", "send_mail"),
        } <= set(placed)

    def test_every_span_has_its_parent(self, observed: Observed) -> None:
        orphans = [
            span
            for spans in observed.spans.values()
            for span in spans.values()
            if span.parent and span.parent not in spans
        ]

        assert orphans == []

    def test_each_of_many_simultaneous_orders_is_found_from_its_own_trace(self, tmp_path: Path) -> None:
        observed = asyncio.run(observe_simultaneous_orders(tmp_path))

        orders = [
            spans for spans in observed.spans.values() if "POST /orders" in {span.name for span in spans.values()}
        ]
        assert len(orders) >= ORDERS
        for spans in orders:
            handled = [(span.service, span.name) for span in spans.values()]
            assert handled.count(("catalog", "PUT /inventory/reservations/{reservation_id}")) == 1
            assert handled.count(("payments", "POST /payments")) == 1
        everything = {span_id: span for spans in observed.spans.values() for span_id, span in spans.items()}
        batches = [span for span in everything.values() if span.links and span.name == "POST catalog"]
        assert batches
        for linking in everything.values():
            assert set(linking.links) <= everything.keys()

    def test_health_checks_and_polls_are_no_traces(self, observed: Observed) -> None:
        names = {span.name for spans in observed.spans.values() for span in spans.values()}

        assert {name for name in names if name == "GET" or any(path in name for path in POLLED)} == set()


def metrics_in(expressions: list[str]) -> set[str]:
    """Return the names of the metrics in PromQL expressions."""
    bare = [re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"|'[^']*'|\b(by|on) \([^)]*\)", "", each) for each in expressions]
    return {name for each in bare for name in re.findall(r"\b(?:portico|process|up)(?:_[a-z0-9_]+)?\b", each)}


def series_of(text: str) -> set[str]:
    """Return the names of the series in a text of metrics, including those of families that have no value yet."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "summary": ("_count", "_sum")}
    return {
        family.name + suffix
        for family in text_string_to_metric_families(text)
        for suffix in suffixes.get(family.type, ("",))
    }


class TestMonitoring:
    def test_rules_and_dashboard_name_only_existing_metrics(self, observed: Observed) -> None:
        existing = set().union(*map(series_of, observed.metrics.values()))
        files = monitoring_files(commerce)
        rules = re.findall(r"expr: '(.*)'", files["commerce.rules.yaml"])
        panels = json.loads(files["commerce.grafana.json"])["panels"]
        queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]

        assert len(rules) > 10
        assert len(queries) > 20
        assert metrics_in(rules + queries) - existing - PROCESS_METRICS == set()

    @pytest.mark.parametrize("part", [*commerce.ports, "gateway alone"])
    def test_metrics_have_the_format_of_prometheus(self, observed: Observed, part: str) -> None:
        checked = subprocess.run(
            [program("promtool", package="prometheus"), "check", "metrics"],
            input=observed.metrics[part],
            capture_output=True,
            text=True,
            check=False,
        )

        assert (checked.stderr, checked.returncode) == ("", 0)


class TestExportedFiles:
    @pytest.mark.parametrize("system", [catalog, commerce], ids=lambda system: system.name)
    def test_promtool_accepts_them(self, tmp_path: Path, system: object) -> None:
        files = monitoring_files(system)
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        configuration, rules, _ = files

        for kind, name in (("config", configuration), ("rules", rules)):
            command = [program("promtool", package="prometheus"), "check", kind, str(tmp_path / name)]
            checked = subprocess.run(command, capture_output=True, text=True, check=False)
            assert checked.returncode == 0, checked.stdout + checked.stderr


SERIES = {
    "PorticoPartDown": {'up{system="commerce", job="orders", instance="a"}': "0x20"},
    "PorticoErrorsHigh": {
        'portico_http_requests_total{system="commerce", job="orders", status="500"}': "0+3x20",
        'portico_http_requests_total{system="commerce", job="orders", status="200"}': "0+97x20",
    },
    "PorticoRequestsSlow": {
        'portico_http_request_duration_seconds_bucket{system="commerce", job="orders", le="2.5"}': "0+90x20",
        'portico_http_request_duration_seconds_bucket{system="commerce", job="orders", le="5.0"}': "0+100x20",
        'portico_http_request_duration_seconds_bucket{system="commerce", job="orders", le="+Inf"}': "0+100x20",
    },
    "PorticoEventLoopBlocked": {'portico_event_loop_lag_seconds{system="commerce", job="orders"}': "0.2x20"},
    "PorticoFilesExhausted": {
        'process_open_fds{system="commerce", job="orders"}': "900x20",
        'process_max_fds{system="commerce", job="orders"}': "1000x20",
    },
    "PorticoBreakerOpen": {'portico_gateway_breaker{system="commerce", job="gateway", upstream="orders a"}': "2x20"},
    "PorticoRateLimitsNotShared": {
        'portico_gateway_rate_limit_fallbacks_total{system="commerce", job="gateway"}': "0+1x20"
    },
    "PorticoOutboxLate": {'portico_outbox_lag_seconds{system="commerce", job="orders"}': "61x20"},
    "PorticoDeadLetters": {'portico_dead_letters{system="commerce", job="orders"}': "1x20"},
    "PorticoManyRetries": {'portico_events_waiting{system="commerce", job="orders"}': "101x20"},
    "PorticoEventsUnroutable": {'portico_events_unroutable{system="commerce", job="orders"}': "1x20"},
    "PorticoSagaOld": {'portico_sagas_oldest_seconds{system="commerce", job="orders", saga="s"}': "901x20"},
    "PorticoSagasFailing": {'portico_sagas_failing{system="commerce", job="orders", saga="s"}': "11x20"},
}
"""Values (one a minute) for which each alert fires."""


class TestAlerts:
    def test_each_fires_for_its_own_values_only(self, tmp_path: Path) -> None:
        alerts = alerts_of(commerce)
        (tmp_path / "commerce.rules.yaml").write_text(monitoring_files(commerce)["commerce.rules.yaml"])
        query = "count by (alertname) (ALERTS{alertstate='firing'})"
        cases = [
            {
                "name": name,
                "interval": "1m",
                "input_series": [{"series": each, "values": values} for each, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": query,
                        "eval_time": "20m",
                        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1}],
                    }
                ],
            }
            for name, series in SERIES.items()
        ]
        (tmp_path / "cases.json").write_text(json.dumps({"rule_files": ["commerce.rules.yaml"], "tests": cases}))

        tested = subprocess.run(
            [program("promtool", package="prometheus"), "test", "rules", "cases.json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

        assert {alert.name for alert in alerts} == SERIES.keys()
        assert tested.returncode == 0, tested.stdout + tested.stderr
