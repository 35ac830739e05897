"""Prometheus metrics. Each service has its own registry, because several can share a process."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from portico.kit.telemetry.logs import get_logger

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UNMATCHED = "unmatched"
"""Route label of requests without a route. Their path comes from the caller and would add a series each time."""

REQUEST_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})
_MAX_SERIES = 1_000

Reading = Callable[[], float | Mapping[str, float]]

logger = get_logger(__name__)


class RequestSeries:
    """Counts for one method, route and status."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(REQUEST_BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count a request."""
        self.buckets[bisect_left(REQUEST_BOUNDS, seconds)] += 1
        self.seconds += seconds


class RequestMetrics(Collector):
    """Number and duration of requests by method, route and status.

    Counting needs no lock because only the event loop's thread counts. It costs a third of the client library's
    histogram.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self._series: dict[tuple[str, str, int], RequestSeries] = {}

    def observe(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            method: HTTP method, or WEBSOCKET.
            route: path template (`/products/{product_id}`); None if no route matches.
            status: status of the response; 499 if the caller left before.
            seconds: from the first byte received to the last byte sent.
        """
        self.series(method, route, status).add(seconds)

    def series(self, method: str, route: str | None, status: int) -> RequestSeries:
        """Return what counts such requests. A caller that repeats them may keep it."""
        series = self._series.get((method, route, status))  # type: ignore[arg-type]  # None is not a key
        return series if series is not None else self._new_series(method, route, status)

    def _new_series(self, method: str, route: str | None, status: int) -> RequestSeries:
        key = (method if method in _METHODS else "OTHER", route or UNMATCHED, status)
        if key not in self._series and len(self._series) >= _MAX_SERIES:
            key = ("OTHER", UNMATCHED, 0)
        return self._series.setdefault(key, RequestSeries())

    def collect(self) -> Iterator[Metric]:
        labels = ["method", "route", "status"]
        counted = CounterMetricFamily("portico_http_requests", "Requests answered", labels=labels)
        took = HistogramMetricFamily("portico_http_request_duration_seconds", "Time to answer", labels=labels)
        for (method, route, status), series in list(self._series.items()):
            values = [method, route, str(status)]
            buckets, total = [], 0
            for bound, count in zip((*map(str, REQUEST_BOUNDS), "+Inf"), series.buckets, strict=True):
                total += count
                buckets.append((bound, float(total)))
            counted.add_metric(values, total)
            took.add_metric(values, buckets, series.seconds)
        yield counted
        yield took
        yield GaugeMetricFamily("portico_http_requests_in_flight", "Requests being answered", self.in_flight)


class _Readings(Collector):
    """Values that are read at each scrape: pools, caches, breakers."""

    def __init__(self) -> None:
        self._readings: dict[str, tuple[Literal["gauge", "counter"], str, str, Reading]] = {}

    def add(self, kind: Literal["gauge", "counter"], name: str, description: str, label: str, read: Reading) -> None:
        if name in self._readings:
            raise ValueError(f"A metric named {name} exists already. Choose another name.")
        self._readings[name] = (kind, description, label, read)

    def collect(self) -> Iterator[Metric]:
        for name, (kind, description, label, read) in list(self._readings.items()):
            try:
                found = read()
            except Exception:
                # A failing metric must not affect the others.
                logger.exception("metric_unreadable", metric=name)
                continue
            family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            if isinstance(found, Mapping):
                metric = family(name, description, labels=[label])
                for value, figure in found.items():
                    metric.add_metric([value], figure)
                yield metric
            else:
                yield family(name, description, value=found)


class Metrics:
    """The metrics of one service.

    Args:
        service: name of the service in the system.
        version: version of the running code.
    """

    def __init__(self, service: str, version: str) -> None:
        self.registry = CollectorRegistry()
        self.requests = RequestMetrics()
        self._scraped = _Readings()
        self.registry.register(self.requests)
        self.registry.register(self._scraped)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        info = GaugeMetricFamily("portico_info", "Running service and version", labels=["service", "version"])
        info.add_metric([service, version], 1)
        self.registry.register(_Constant(info))

    def gauge(self, name: str, description: str, read: Reading, *, label: str = "name") -> None:
        """Add a gauge.

        Args:
            name: name of the metric.
            description: help text of the metric.
            read: called at each scrape; returns a number, or a number for each value of `label`.
            label: name of the label.
        """
        self._scraped.add("gauge", name, description, label, read)

    def counter(self, name: str, description: str, read: Reading, *, label: str = "name") -> None:
        """Add a counter, which only grows. The arguments are those of `gauge`; the format adds `_total` to the name."""
        self._scraped.add("counter", name, description, label, read)

    def render(self) -> bytes:
        """Return the metrics in Prometheus text format (CONTENT_TYPE)."""
        return generate_latest(self.registry)


class _Constant(Collector):
    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric
