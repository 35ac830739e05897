"""Time limits of the fast plane."""

from dataclasses import dataclass, field

from portico.gateway.fast.time_limits import TimeLimits


@dataclass(eq=False)
class Timed:
    deadline: float
    timed_out: list[float] = field(default_factory=list)

    def time_out(self) -> None:
        self.timed_out.append(self.deadline)


@dataclass(eq=False)
class Idle:
    idle_seconds: float = 5.0
    is_closed: bool = False

    def close_idle(self) -> None:
        self.is_closed = True


def test_requests_end_at_their_deadline() -> None:
    time_limits, early, late = TimeLimits(), Timed(10.0), Timed(20.0)
    time_limits.busy |= {early, late}

    time_limits.apply(10.0)

    assert (early.timed_out, late.timed_out) == ([10.0], [])


def test_connections_are_closed_that_were_idle_for_too_long() -> None:
    time_limits, connections = TimeLimits(), [Idle(), Idle(), Idle()]
    for since, connection in enumerate(connections):
        time_limits.idle[connection] = float(since)

    time_limits.apply(6.0)

    assert [connection.is_closed for connection in connections] == [True, True, False]
    assert list(time_limits.idle) == connections[2:]
