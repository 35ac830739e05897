"""Faults injected from a seed: what goes wrong at which commit, publishing, delivery and call."""

from portico.drill.faults.plan import ALL_FAULTS, Fault, FaultPlan, Point, UnknownFault, fault_kinds
from portico.drill.faults.restarts import Lives, ServiceLife

__all__ = ["ALL_FAULTS", "Fault", "FaultPlan", "Lives", "Point", "ServiceLife", "UnknownFault", "fault_kinds"]
