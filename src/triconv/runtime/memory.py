"""How much memory there is, asked before something large is allocated."""

from __future__ import annotations

from pathlib import Path

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

SMALL = 64 << 20  # below this no one is asked


def available() -> int:
    """The least of free memory, what the cgroup leaves, and what ``RLIMIT_AS`` leaves, in bytes."""
    return min(_free(), _cgroup(), _address_space())


def require(where: str, size: int, what: str, instead: str = "") -> None:
    """Raise `MemoryError` where ``size`` bytes would not fit; ``what`` says of what, with the arithmetic."""
    if size > SMALL and size > (limit := available()):
        raise MemoryError(
            f"{where}: {what} needs {human(size)}, {human(limit)} are available{instead and '; ' + instead}"
        )


def human(size: float) -> str:
    """A size in the unit that reads best."""
    units = ["TiB", "GiB", "MiB", "KiB", "B"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop()
    return f"{size:.0f} {units[-1]}" if units[-1] == "B" or size >= 100 else f"{size:.3g} {units[-1]}"


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None  # absent, or the word "max"


def _field(path: str, name: str) -> int | None:
    try:
        for line in Path(path).read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return None


def _free() -> int:
    kib = _field("/proc/meminfo", "MemAvailable:")
    return 1 << 62 if kib is None else kib * 1024


def _cgroup() -> int:
    least = 1 << 62
    for limit, used, cache in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
            "/sys/fs/cgroup/memory/memory.stat",
        ),
    ):
        most = _number(limit)
        if most is not None:
            reclaimable = _field(cache, "inactive_file") or 0
            least = min(least, max(0, most - (_number(used) or 0) + reclaimable))
    return least


def _address_space() -> int:
    if resource is None:
        return 1 << 62
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return 1 << 62
    return max(0, soft - 1024 * (_field("/proc/self/status", "VmSize:") or 0))
