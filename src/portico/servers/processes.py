"""The processes of a server."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

import psutil

_CLOCK_TOLERANCE = 2.0  # seconds by which two readings of a start time may differ
_KILLED_WITHIN = 10.0  # seconds
_NAME_LENGTH = 15  # characters of a process name that Linux shows


def tree(pid: int) -> list[psutil.Process]:
    """Return the process and its descendants; nothing if it has exited."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def start_time(pid: int) -> float:
    """Return the start time of a process, in seconds since the epoch; 0 if it has exited."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def is_same_process(pid: int, started_at: float) -> bool:
    """Return whether the process with this id is the one that started at that time."""
    return bool(pid) and abs(start_time(pid) - started_at) < _CLOCK_TOLERANCE


def orphans(leader: int, started_at: float) -> list[psutil.Process]:
    """Return the remaining processes of a process group whose leader, started at that time, has exited.

    The system does not reuse the id of a group while it has members. So a group without its leader is the same group,
    unless the machine has been restarted since.
    """
    if not leader or psutil.pid_exists(leader) or started_at < psutil.boot_time():
        return []
    return list(_members(leader, started_at))


def _members(group: int, started_at: float) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(
            ProcessLookupError, PermissionError, psutil.NoSuchProcess
        ):  # it has exited, or belongs to another account
            if os.getpgid(process.pid) == group and process.create_time() > started_at - _CLOCK_TOLERANCE:
                yield process


def serves(process: psutil.Process, part: str, port: int) -> bool:
    """Return whether the process is a worker process of `portico up --split` that serves `part` on `port`.

    On Linux its name says so. On other systems its connections are read, which takes longer.
    """
    try:
        if psutil.LINUX:
            named = process.name().startswith(f"{part} "[:_NAME_LENGTH])
            return named and process.status() != psutil.STATUS_ZOMBIE
        connections = process.net_connections("tcp")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(each.laddr.port == port for each in connections if each.status == psutil.CONN_LISTEN)


def is_frozen(process: psutil.Process) -> bool:
    """Return whether a process is paused or has exited."""
    try:
        return bool(process.status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE})
    except psutil.NoSuchProcess:
        return True


def wait_or_kill(processes: Sequence[psutil.Process], within: float) -> None:
    """Wait for processes to exit, and kill the others after `within` seconds."""
    _, alive = psutil.wait_procs(processes, timeout=within)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_KILLED_WITHIN)
