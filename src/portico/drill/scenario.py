"""What is done with a system under drill, and what must hold afterwards."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from portico.drill.databases import DrillDatabases
from portico.drill.report import Breach, Report
from portico.drill.setup import DrillSettings, OnDone
from portico.kit.calls.channel import Channel
from portico.kit.data.engine import Database
from portico.kit.runtime.system import System


class Scenario(ABC):
    """The users of a system under drill. An instance serves one drill.

    Args:
        drill: what to do.
        concurrency: how many users act at the same time; None for as many as the scenario has by default.

    Attributes:
        on_done: called with the number of acknowledged actions after each.
    """

    actions: ClassVar[str]
    """What is counted: "orders"."""
    settings: ClassVar[Mapping[str, str]] = {}
    """Settings of the system for this scenario."""

    def __init__(self, drill: DrillSettings, concurrency: int | None = None) -> None:
        self.drill = drill
        self.concurrency = concurrency
        self.on_done: OnDone = lambda _: None

    def report_done(self, number: int) -> None:
        """Tell the number of acknowledged actions."""
        self.on_done(number)

    @property
    @abstractmethod
    def done(self) -> int:
        """The number of acknowledged actions."""

    @property
    @abstractmethod
    def errors(self) -> Sequence[str]:
        """Requests that were not answered as documented."""

    @abstractmethod
    async def set_up(self, channel: Channel, variables: Mapping[str, str]) -> str:
        """Create what the users need; return it as words. No faults occur. Raises ExpectationFailed.

        Args:
            channel: the way to the gateway.
            variables: the settings of the system.
        """

    @abstractmethod
    async def act(self) -> None:
        """Do everything, while faults occur."""

    @abstractmethod
    def open(self, system: System, databases: Mapping[str, Database]) -> DrillDatabases:
        """Return the databases of the system, by name of the service."""

    @abstractmethod
    async def check(self, databases: DrillDatabases) -> Mapping[str, int]:
        """Check every invariant; return the number of orders or bookings by status."""

    async def conclude(self, databases: DrillDatabases, report: Report) -> None:
        """Check every invariant, and fill the report. It gets the shortest history of those that broke an invariant."""
        report.outcomes.update(await self.check(databases))
        report.breaches += [Breach("every request is answered as documented", message) for message in self.errors]
        report.breaches += databases.breaches
        report.checked = databases.checked
        subjects = {breach.subject for breach in databases.breaches if breach.subject is not None}
        report.history = min([await databases.history(each) for each in subjects], key=len, default=[])
