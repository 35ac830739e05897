"""Metrics and access log of the gateway."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from portico.gateway.access_log import AccessRecord, ResponseCounter
from portico.kit.calls.directory import Directory
from portico.kit.telemetry.logs import RequestLog
from portico.kit.telemetry.metrics import REQUEST_BOUNDS, UNMATCHED, Metrics, RequestSeries

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
BREAKER_STATES = {"closed": 0.0, "half_open": 1.0, "open": 2.0}
# Probes and browsers request these every few seconds; logging them would hide the other requests.
NOT_LOGGED = frozenset(("own", "preflight"))


class GatewayMetrics(Collector):
    """Counts each request and writes its access log line.

    Args:
        metrics: The gateway's metrics.
        request_log: The access log; None writes no lines.
    """

    def __init__(self, metrics: Metrics, request_log: RequestLog | None) -> None:
        self._requests = metrics.requests
        self._log = request_log
        self._upstream_times: dict[str, _UpstreamTimes] = {}
        self.rate_limited: Counter[str] = Counter()
        self.retries: Counter[str] = Counter()
        self.incomplete: Counter[str] = Counter()
        self.rate_limit_fallbacks = 0
        metrics.registry.register(self)

    def counter(self, method: str, route: str, service: str, status: int) -> ResponseCounter | None:
        return (
            None
            if self._log is not None
            else _ForwardedCounter(self._requests.series(method, route, status), self._waits_of(service))
        )

    def record(self, access: AccessRecord) -> None:
        route = None if access.route == UNMATCHED else access.route
        self._requests.observe(access.method, route, access.status, access.seconds)
        if access.rate_limited:
            self.rate_limited[access.route] += 1
        if access.service is not None:
            self._count_forwarded(access, access.service)
        if self._log is not None and access.route not in NOT_LOGGED:
            self._log(
                method=access.method,
                path=access.path,
                route=route,
                status=access.status,
                seconds=access.seconds,
                request_id=access.request_id,
                trace_id=access.trace_id,
                client=access.client,
                subject=access.caller,
            )

    def _count_forwarded(self, access: AccessRecord, service: str) -> None:
        waits = self._waits_of(service)
        if access.upstream_seconds:
            waits.add(access.upstream_seconds)
        if access.attempts > 1:
            self.retries[service] += access.attempts - 1
        if access.outcome != "complete":
            self.incomplete[access.outcome] += 1

    def _waits_of(self, service: str) -> "_UpstreamTimes":
        waits = self._upstream_times.get(service)
        if waits is None:
            waits = self._upstream_times[service] = _UpstreamTimes()
        return waits

    def count_fallback(self) -> None:
        """Count a request whose rate limit was checked in this process because Redis is down."""
        self.rate_limit_fallbacks += 1

    def collect(self) -> Iterator[Metric]:
        waits = HistogramMetricFamily(
            "portico_gateway_upstream_seconds", "Seconds until a service's response began", labels=["service"]
        )
        for service, one in self._upstream_times.items():
            waits.add_metric([service], one.buckets(), one.seconds)
        yield waits
        yield _counter("portico_gateway_rate_limited", "Requests refused with 429", "route", self.rate_limited)
        yield _counter("portico_gateway_retries", "Retries on another instance", "service", self.retries)
        yield _counter(
            "portico_gateway_incomplete", "Responses that did not complete, by outcome", "outcome", self.incomplete
        )
        yield CounterMetricFamily(
            "portico_gateway_rate_limit_fallbacks",
            "Rate limits checked in this process because Redis was down",
            self.rate_limit_fallbacks,
        )


class _UpstreamTimes:
    """Histogram of the time until a service's responses began."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        total, buckets = 0, []
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets


class _ForwardedCounter:
    """Counts complete responses of one route with one status."""

    __slots__ = ("_series", "_waits")

    def __init__(self, series: RequestSeries, waits: _UpstreamTimes) -> None:
        self._series = series
        self._waits = waits

    def add(self, seconds: float, upstream_seconds: float) -> None:
        # Does the work of `add` of both, without two calls per request.
        series, waits = self._series, self._waits
        series.buckets[bisect_left(REQUEST_BOUNDS, seconds)] += 1
        series.seconds += seconds
        waits.counts[bisect_left(BOUNDS, upstream_seconds)] += 1
        waits.seconds += upstream_seconds


def _counter(name: str, description: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, description, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def watch_instances(metrics: Metrics, directory: Directory) -> None:
    """Add gauges for the instances of all services: requests in flight and breaker state."""

    def breakers() -> dict[str, float]:
        return {f"{one.service} {one.address}": BREAKER_STATES[one.breaker] for one in directory.states()}

    def in_flight() -> dict[str, float]:
        return {f"{one.service} {one.address}": float(one.in_flight) for one in directory.states()}

    metrics.gauge("portico_gateway_breaker", "Breaker state: 0 closed, 1 half open, 2 open", breakers, label="upstream")
    metrics.gauge(
        "portico_gateway_instance_in_flight", "Requests in flight at an instance", in_flight, label="upstream"
    )
