"""Faults that are injected from a seed at commits, publications, deliveries and calls."""

from portico.drill.faults.plan import ALL_FAULTS, Fault, FaultPlan, Point, UnknownFault, fault_kinds
from portico.drill.faults.restarts import RestartingServices, ServiceInstance

__all__ = [
    "ALL_FAULTS",
    "Fault",
    "FaultPlan",
    "Point",
    "RestartingServices",
    "ServiceInstance",
    "UnknownFault",
    "fault_kinds",
]
