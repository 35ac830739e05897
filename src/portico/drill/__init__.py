"""The drill: run a whole system with faults injected from a seed, and check its invariants."""

from portico.drill.embedded import run_embedded
from portico.drill.report import Breach, Report
from portico.drill.setup import DrillSettings

__all__ = ["Breach", "DrillSettings", "Report", "run_embedded"]
