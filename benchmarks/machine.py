"""What this machine is, how busy it is, and how much memory a tree of processes takes."""

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What figures depend on. `load_average` is that of the last minute before the benchmarks began."""

    processor: str
    cores: int
    memory_gb: float
    system: str
    python: str
    load_average: float


def describe() -> Machine:
    return Machine(
        processor=_first_match(_PROC / "cpuinfo", r"model name\s*:\s*(.+)") or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load_average=round(os.getloadavg()[0], 2),
    )


def tree_pss_bytes(root: int) -> int:
    """Return the proportional set size of a process and all its descendants: pages that are shared count once."""
    return sum(_pss_bytes(pid) for pid in tree(root))


def tree(root: int) -> Iterator[int]:
    """Yield the id of a process and those of all its descendants."""
    parents = {int(folder.name): _parent(folder) for folder in _PROC.iterdir() if folder.name.isdecimal()}
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += [child for child, parent in parents.items() if parent == pid]


def rss_bytes(pid: int) -> int:
    """Return the memory that a process holds, shared pages included; 0 if it is gone."""
    found = _first_match(_PROC / str(pid) / "status", r"VmRSS:\s*(\d+) kB")
    return int(found) * 1024 if found else 0


def command(pid: int) -> str:
    """Return the command line of a process, its words parted by spaces; empty if it is gone."""
    return (_first_match(_PROC / str(pid) / "cmdline", r"(?s)(.*)") or "").replace("\0", " ").strip()


def foreign_cpu_s() -> float:
    """Return the processor time, since a moment that stays the same, of all but this process and what it has started.

    What is measured runs below this process, Postgres included, so the rest is what distorts it.
    """
    return _busy_s() - sum(cpu_s(pid) for pid in tree(os.getpid()))


def _busy_s() -> float:
    user, nice, system, _idle, _wait, irq, softirq, *_ = _numbers((_PROC / "stat").read_text().partition("\n")[0])
    return (user + nice + system + irq + softirq) / _TICKS_PER_S


def cpu_s(pid: int) -> float:
    """Return the processor time of a process and of those of its children that have ended."""
    stat = _first_match(_PROC / str(pid) / "stat", r"\) \S+ (.*)")
    # Fields 14 to 17 of proc(5): utime, stime, cutime, cstime; the match begins at field 4.
    return sum(_numbers(stat)[10:14]) / _TICKS_PER_S if stat else 0.0


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split() if word.lstrip("-").isdecimal()]


def _parent(folder: Path) -> int | None:
    found = _first_match(folder / "status", r"PPid:\s*(\d+)")
    return int(found) if found else None


def _pss_bytes(pid: int) -> int:
    found = _first_match(_PROC / str(pid) / "smaps_rollup", r"\nPss:\s*(\d+) kB")
    return int(found) * 1024 if found else 0


def _first_match(file: Path, pattern: str) -> str | None:
    """Return the first group, or None if nothing matches or the process that the file told of is gone."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = re.search(pattern, text)
    return found[1].strip() if found else None
