"""Which processes belong to a server."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

import psutil

_SAME_MOMENT = 2.0  # seconds by which two readings of when a process began may differ
_KILLED_WITHIN = 10.0  # seconds


def tree(pid: int) -> list[psutil.Process]:
    """The process and all that descend from it; none where it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def born(pid: int) -> float:
    """When the process began, in seconds since the epoch; 0 where it is gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def is_the_one(pid: int, began: float) -> bool:
    """Whether this number is still that of the process that began then."""
    return bool(pid) and abs(born(pid) - began) < _SAME_MOMENT


def orphans(leader: int, began: float) -> list[psutil.Process]:
    """What is left of a process group whose leader, begun at that time, is dead.

    The system gives a group's number to nobody else as long as somebody is in it. So a group without its leader is
    the one that it was, unless the machine has been started anew since.
    """
    if not leader or psutil.pid_exists(leader) or began < psutil.boot_time():
        return []
    return list(_members(leader, began))


def _members(group: int, began: float) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):  # gone by now, or never ours
            if os.getpgid(process.pid) == group and process.create_time() > began - _SAME_MOMENT:
                yield process


def is_frozen(process: psutil.Process) -> bool:
    """Whether it does nothing: paused, or dead."""
    try:
        return bool(process.status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE})
    except psutil.NoSuchProcess:
        return True


def end(processes: Sequence[psutil.Process], within: float) -> None:
    """Wait for processes to end, and kill those that have not after so many seconds."""
    _, alive = psutil.wait_procs(processes, timeout=within)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_KILLED_WITHIN)
