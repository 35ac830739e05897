"""The drill: a whole system with faults injected from a seed, and what must be true afterwards."""

from portico.drill.embedded import run_embedded
from portico.drill.report import Breach, Report
from portico.drill.setup import DrillSettings

__all__ = ["Breach", "DrillSettings", "Report", "run_embedded"]
