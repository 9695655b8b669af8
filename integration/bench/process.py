"""What the kernel knows of a process: its CPU time, its memory, its cores."""

from __future__ import annotations

import os
import time
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads since the start, user and system, to the nanosecond."""
    # How Linux names the CPU clock of a process: clock_getcpuclockid(3) makes the same number.
    return time.clock_gettime((~pid << 3) | 2)


def memory_bytes(pid: int) -> int:
    """Memory of a process that is in RAM now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def split_cores() -> tuple[set[int], set[int]] | None:
    """A core for the Envoys under test and the others for those who feed them; `None` if there is but one."""
    cores = sorted(os.sched_getaffinity(0))
    return ({cores[0]}, set(cores[1:])) if len(cores) > 1 else None


def pin(pid: int, cores: set[int]) -> None:
    """Keeps all threads that a process has now, and what they start later, to some cores."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)
