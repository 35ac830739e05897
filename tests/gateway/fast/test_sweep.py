"""Time limits of the fast plane."""

from dataclasses import dataclass, field

from portico.gateway.fast.sweep import Sweep


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
    sweep, early, late = Sweep(), Timed(10.0), Timed(20.0)
    sweep.busy |= {early, late}

    sweep.apply(10.0)

    assert (early.timed_out, late.timed_out) == ([10.0], [])


def test_connections_are_closed_that_were_idle_for_too_long() -> None:
    sweep, connections = Sweep(), [Idle(), Idle(), Idle()]
    for since, connection in enumerate(connections):
        sweep.idle[connection] = float(since)

    sweep.apply(6.0)

    assert [connection.is_closed for connection in connections] == [True, True, False]
    assert list(sweep.idle) == connections[2:]
