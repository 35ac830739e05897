"""What the gateway counts and writes down."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from portico.gateway.access_log import Record
from portico.kit.calls.directory import Directory
from portico.kit.telemetry.logs import RequestLog
from portico.kit.telemetry.metrics import UNMATCHED, Metrics

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
BREAKER_STATES = {"closed": 0.0, "half_open": 1.0, "open": 2.0}
# Machines ask for these every few seconds, and nobody looks for them in a log.
QUIET = frozenset(("own", "preflight"))


class Observations(Collector):
    """Counts each request and writes its line.

    Args:
        metrics: The gateway's.
        request_log: Where the lines go; none are written without.
    """

    def __init__(self, metrics: Metrics, request_log: RequestLog | None) -> None:
        self._requests = metrics.requests
        self._log = request_log
        self._waits: dict[str, _Waits] = {}
        self.limited: Counter[str] = Counter()
        self.repeated: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.counted_alone = 0
        metrics.registry.register(self)

    def finished(self, record: Record) -> None:
        route = None if record.route == UNMATCHED else record.route
        self._requests.observe(record.method, route, record.status, record.seconds)
        if record.limited:
            self.limited[record.route] += 1
        if record.service is not None:
            self._forwarded(record, record.service)
        if self._log is not None and record.route not in QUIET:
            self._log(
                method=record.method,
                path=record.path,
                route=route,
                status=record.status,
                seconds=record.seconds,
                request_id=record.request_id,
                trace_id=record.trace_id,
                client=record.client,
                subject=record.caller,
            )

    def _forwarded(self, record: Record, service: str) -> None:
        waits = self._waits.get(service)
        if waits is None:
            waits = self._waits[service] = _Waits()
        if record.waited:
            waits.add(record.waited)
        if record.tries > 1:
            self.repeated[service] += record.tries - 1
        if record.end != "complete":
            self.ended[record.end] += 1

    def counted_here(self) -> None:
        """A request was counted in this process because Redis is away."""
        self.counted_alone += 1

    def collect(self) -> Iterator[Metric]:
        waits = HistogramMetricFamily(
            "portico_gateway_upstream_seconds", "Time until a service's answer began", labels=["service"]
        )
        for service, one in self._waits.items():
            waits.add_metric([service], one.buckets(), one.seconds)
        yield waits
        yield _counter("portico_gateway_rate_limited", "Requests refused with 429", "route", self.limited)
        yield _counter("portico_gateway_retries", "Second tries on another instance", "service", self.repeated)
        yield _counter("portico_gateway_unfinished", "Answers that did not end as they should", "end", self.ended)
        yield CounterMetricFamily(
            "portico_gateway_counted_alone", "Requests counted here because Redis is away", self.counted_alone
        )


class _Waits:
    """How long a service took to begin its answers."""

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


def _counter(name: str, description: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, description, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def watch_instances(metrics: Metrics, directory: Directory) -> None:
    """Measure the instances: how busy each is, and whether its breaker lets requests through."""

    def breakers() -> dict[str, float]:
        return {f"{one.service} {one.address}": BREAKER_STATES[one.breaker] for one in directory.states()}

    def in_flight() -> dict[str, float]:
        return {f"{one.service} {one.address}": float(one.in_flight) for one in directory.states()}

    metrics.gauge("portico_gateway_breaker", "0 closed, 1 letting a trial through, 2 open", breakers, label="instance")
    metrics.gauge("portico_gateway_instance_in_flight", "Requests at an instance", in_flight, label="instance")
