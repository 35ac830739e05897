"""Metrics for Prometheus: of each service its own, so that several in one process don't mix."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from portico.kit.telemetry.logs import get_logger

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UNMATCHED = "unmatched"
"""The route of a request that no route fits: its path is the caller's, and would be one more label each time."""

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})
_MOST_SERIES = 1_000

Reading = Callable[[], float | Mapping[str, float]]

log = get_logger(__name__)


class _Series:
    """What is counted for one method, route and status."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.seconds = 0.0


class RequestMetrics(Collector):
    """Requests by method, route and status: how many, and how long they took.

    Counted without a lock, by the event loop's thread alone: a third of the cost of the client library's histogram.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self._series: dict[tuple[str, str, int], _Series] = {}

    def observe(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            method: of HTTP, or WEBSOCKET.
            route: the path's template (`/products/{product_id}`), None where no route fits.
            status: of the answer; 499 where the caller left before there was one.
            seconds: from the first byte in to the last byte out.
        """
        series = self._series.get((method, route, status))  # type: ignore[arg-type]  # None finds nothing
        if series is None:
            series = self._made(method, route, status)
        series.buckets[bisect_left(_BOUNDS, seconds)] += 1
        series.seconds += seconds

    def _made(self, method: str, route: str | None, status: int) -> _Series:
        key = (method if method in _METHODS else "OTHER", route or UNMATCHED, status)
        if key not in self._series and len(self._series) >= _MOST_SERIES:
            key = ("OTHER", UNMATCHED, 0)
        return self._series.setdefault(key, _Series())

    def collect(self) -> Iterator[Metric]:
        labels = ["method", "route", "status"]
        counted = CounterMetricFamily("portico_http_requests", "Requests answered", labels=labels)
        took = HistogramMetricFamily("portico_http_request_duration_seconds", "Time to answer", labels=labels)
        for (method, route, status), series in list(self._series.items()):
            values = [method, route, str(status)]
            buckets, total = [], 0
            for bound, count in zip((*map(str, _BOUNDS), "+Inf"), series.buckets, strict=True):
                total += count
                buckets.append((bound, float(total)))
            counted.add_metric(values, total)
            took.add_metric(values, buckets, series.seconds)
        yield counted
        yield took
        yield GaugeMetricFamily("portico_http_requests_in_flight", "Requests being answered", self.in_flight)


class _Watched(Collector):
    """Figures that are asked for when they are wanted: pools, caches, breakers."""

    def __init__(self) -> None:
        self._readings: dict[str, tuple[Literal["gauge", "counter"], str, str, Reading]] = {}

    def add(self, kind: Literal["gauge", "counter"], name: str, description: str, label: str, read: Reading) -> None:
        if name in self._readings:
            raise ValueError(f"{name} is measured already")
        self._readings[name] = (kind, description, label, read)

    def collect(self) -> Iterator[Metric]:
        for name, (kind, description, label, read) in list(self._readings.items()):
            try:
                found = read()
            except Exception:
                # One figure that can't be had must not cost the others.
                log.exception("metric_unreadable", metric=name)
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
    """All that one service measures.

    Args:
        service: its name in the system.
        version: of what runs.
    """

    def __init__(self, service: str, version: str) -> None:
        self.registry = CollectorRegistry()
        self.requests = RequestMetrics()
        self._watched = _Watched()
        self.registry.register(self.requests)
        self.registry.register(self._watched)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        info = GaugeMetricFamily("portico_info", "What runs here", labels=["service", "version"])
        info.add_metric([service, version], 1)
        self.registry.register(_Constant(info))

    def gauge(self, name: str, description: str, read: Reading, *, label: str = "name") -> None:
        """Measure what goes up and down by asking `read` at each scrape: a number, or one for each value of `label`."""
        self._watched.add("gauge", name, description, label, read)

    def counter(self, name: str, description: str, read: Reading, *, label: str = "name") -> None:
        """Likewise for what only grows. `name` ends without `_total`: the format adds it."""
        self._watched.add("counter", name, description, label, read)

    def render(self) -> bytes:
        """The text that Prometheus scrapes, of CONTENT_TYPE."""
        return generate_latest(self.registry)


class _Constant(Collector):
    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric
