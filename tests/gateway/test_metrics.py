from io import BytesIO

import orjson
import pytest

from portico.gateway.access_log import AccessRecord
from portico.gateway.metrics import GatewayMetrics, watch_instances
from portico.kit.calls.directory import Directory
from portico.kit.telemetry.logs import Logs, RequestLog
from portico.kit.telemetry.metrics import Metrics


def a_record(**rest: object) -> AccessRecord:
    record = AccessRecord("GET", "/products/prod_1", "req-1", "a" * 32, "203.0.113.7")
    record.route, record.service, record.status, record.seconds = "/products/{product_id}", "catalog", 200, 0.02
    record.upstream_seconds, record.attempts = 0.012, 1
    for name, value in rest.items():
        setattr(record, name, value)
    return record


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("gateway", "1")


class TestGatewayMetrics:
    def test_requests_are_counted_by_template(self, metrics: Metrics) -> None:
        gateway_metrics = GatewayMetrics(metrics, None)
        gateway_metrics.record(a_record())
        gateway_metrics.record(a_record(route="unmatched", service=None, status=404))
        text = metrics.render().decode()

        assert 'portico_http_requests_total{method="GET",route="/products/{product_id}",status="200"} 1.0' in text
        assert 'route="unmatched",status="404"} 1.0' in text
        assert "prod_1" not in text

    def test_upstream_times_retries_and_failures_are_counted(self, metrics: Metrics) -> None:
        gateway_metrics = GatewayMetrics(metrics, None)
        gateway_metrics.record(a_record(attempts=3))
        gateway_metrics.record(a_record(rate_limited=True, status=429, service=None))
        gateway_metrics.record(a_record(outcome="client_gone", status=499, upstream_seconds=0.0))
        gateway_metrics.count_fallback()
        text = metrics.render().decode()

        assert 'portico_gateway_upstream_seconds_bucket{le="0.025",service="catalog"} 1.0' in text
        assert 'portico_gateway_upstream_seconds_count{service="catalog"} 1.0' in text
        assert 'portico_gateway_retries_total{service="catalog"} 2.0' in text
        assert 'portico_gateway_rate_limited_total{route="/products/{product_id}"} 1.0' in text
        assert 'portico_gateway_incomplete_total{outcome="client_gone"} 1.0' in text
        assert "portico_gateway_rate_limit_fallbacks_total 1.0" in text

    def test_each_request_is_logged_except_health_and_metrics(self, metrics: Metrics) -> None:
        out = BytesIO()
        logs = Logs(stream=out, style="json")
        gateway_metrics = GatewayMetrics(metrics, RequestLog(logs, "gateway"))
        gateway_metrics.record(a_record(caller="user_1"))
        gateway_metrics.record(a_record(route="own"))
        logs.close()
        (line,) = out.getvalue().splitlines()

        seen = orjson.loads(line)
        assert (seen["path"], seen["status"], seen["request_id"]) == ("/products/prod_1", 200, "req-1")
        assert (seen["subject"], seen["client"]) == ("user_1", "203.0.113.7")

    def test_breaker_states_are_exported(self, metrics: Metrics) -> None:
        directory = Directory({"catalog": "http://127.0.0.1:1"})
        watch_instances(metrics, directory)

        assert 'portico_gateway_breaker{upstream="catalog http://127.0.0.1:1"} 0.0' in metrics.render().decode()
