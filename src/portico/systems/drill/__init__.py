"""The drill: a whole system with faults injected from a seed, and what must be true afterwards."""

from portico.systems.drill.embedded import run_embedded
from portico.systems.drill.opening import DrillSettings
from portico.systems.drill.report import Breach, Report

__all__ = ["Breach", "DrillSettings", "Report", "run_embedded"]
