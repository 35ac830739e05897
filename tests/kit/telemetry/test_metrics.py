import pytest
from prometheus_client.parser import text_string_to_metric_families

from portico.kit.telemetry import Metrics
from portico.kit.telemetry.metrics import UNMATCHED


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return the scraped values by name and label values, ordered by label name."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("catalog", "1.2.3")


class TestRequests:
    def test_they_are_counted_by_method_route_and_status(self, metrics: Metrics) -> None:
        for _ in range(3):
            metrics.requests.observe("GET", "/products", 200, 0.003)
        metrics.requests.observe("GET", "/products", 500, 0.003)

        found = samples(metrics)
        assert found["portico_http_requests_total", "GET", "/products", "200"] == 3
        assert found["portico_http_requests_total", "GET", "/products", "500"] == 1

    def test_durations_are_counted_in_cumulative_buckets(self, metrics: Metrics) -> None:
        for seconds in (0.001, 0.004, 0.004, 99.0):
            metrics.requests.observe("GET", "/products", 200, seconds)

        found = samples(metrics)
        name, labels = "portico_http_request_duration_seconds", ("GET", "/products", "200")
        assert found[f"{name}_bucket", "0.001", *labels] == 1
        assert found[f"{name}_bucket", "0.005", *labels] == 3
        assert found[f"{name}_bucket", "10.0", *labels] == 3
        assert found[f"{name}_bucket", "+Inf", *labels] == found[f"{name}_count", *labels] == 4
        assert found[f"{name}_sum", *labels] == pytest.approx(99.009)

    def test_callers_cannot_create_labels(self, metrics: Metrics) -> None:
        metrics.requests.observe("BREW", None, 404, 0)
        metrics.requests.observe("STEEP", None, 404, 0)

        assert samples(metrics)["portico_http_requests_total", "OTHER", UNMATCHED, "404"] == 2

    def test_the_number_of_series_is_limited(self, metrics: Metrics) -> None:
        for number in range(1_500):
            metrics.requests.observe("GET", f"/{number}", 200, 0)

        counted = [key for key in samples(metrics) if key[0] == "portico_http_requests_total"]
        assert len(counted) == 1_001
        assert samples(metrics)["portico_http_requests_total", "OTHER", UNMATCHED, "0"] == 500

    def test_services_in_one_process_have_separate_metrics(self, metrics: Metrics) -> None:
        Metrics("identity", "1").requests.observe("GET", "/users", 200, 0)

        assert b"/users" not in metrics.render()


class TestReadings:
    def test_a_gauge_is_read_at_each_scrape(self, metrics: Metrics) -> None:
        figures = iter([3.0, 7.0])
        metrics.gauge("portico_pool_connections", "Connections in use", lambda: next(figures))

        assert samples(metrics)["portico_pool_connections",] == 3
        assert samples(metrics)["portico_pool_connections",] == 7

    def test_a_reading_may_have_many_values(self, metrics: Metrics) -> None:
        metrics.counter("portico_cache_lookups", "Lookups", lambda: {"hit": 9, "miss": 1}, label="outcome")

        found = samples(metrics)
        assert found["portico_cache_lookups_total", "hit"] == 9
        assert found["portico_cache_lookups_total", "miss"] == 1

    def test_a_failing_reading_does_not_affect_others(self, metrics: Metrics) -> None:
        metrics.gauge("portico_broken", "Never there", lambda: 1 / 0)
        metrics.gauge("portico_fine", "Always there", lambda: 1)

        found = samples(metrics)
        assert found["portico_fine",] == 1
        assert ("portico_broken",) not in found

    def test_names_are_unique(self, metrics: Metrics) -> None:
        metrics.gauge("portico_pool", "One", lambda: 1)

        with pytest.raises(ValueError, match="portico_pool exists already"):
            metrics.gauge("portico_pool", "Two", lambda: 2)


class TestProcess:
    def test_it_has_service_and_version(self, metrics: Metrics) -> None:
        assert samples(metrics)["portico_info", "catalog", "1.2.3"] == 1

    def test_it_has_the_memory_in_use(self, metrics: Metrics) -> None:
        assert samples(metrics)["process_resident_memory_bytes",] > 1_000_000
