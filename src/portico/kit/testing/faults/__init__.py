"""Faults injected from a seed: what goes wrong at which commit, publishing, delivery and call."""

from portico.kit.testing.faults.lives import Lives, ServiceLife
from portico.kit.testing.faults.plan import ALL_FAULTS, Fault, FaultPlan, Point, UnknownFault, fault_kinds

__all__ = ["ALL_FAULTS", "Fault", "FaultPlan", "Lives", "Point", "ServiceLife", "UnknownFault", "fault_kinds"]
