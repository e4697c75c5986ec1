"""How much memory there is, asked before something large is allocated."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

SMALL = 64 << 20  # below this no one is asked
# Versions 2 and 1 of control groups: the controller, its folder, the files of the limit and of what is used.
CGROUPS = (
    ("", "/sys/fs/cgroup", "memory.max", "memory.current"),
    ("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


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


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except (OSError, ValueError):
        return []


def _field(path: str, name: str) -> int | None:
    for line in _lines(path):
        words = line.split()
        if words[:1] == [name] and words[1:] and words[1].isdecimal():
            return int(words[1])
    return None


def _free() -> int:
    kib = _field("/proc/meminfo", "MemAvailable:")
    if kib is not None:
        return kib * 1024
    try:  # only Linux has such a file
        import psutil

        return int(psutil.virtual_memory().available)
    except Exception:  # it is not installed, or does not know the system
        return 1 << 62


def _cgroup() -> int:
    """What the control groups leave that hold this process, its own and those above it."""
    parts = [line.split(":", 2) for line in _lines("/proc/self/cgroup") if line.count(":") > 1]
    own = {controller: path for _, names, path in parts for controller in names.split(",")}
    least = 1 << 62
    for controller, root, limit, used in CGROUPS:
        place = PurePosixPath(own.get(controller, "/"))
        for group in (place, *place.parents):
            most = _number(f"{root}{group}/{limit}")
            if most is not None:
                reclaimable = _field(f"{root}{group}/memory.stat", "inactive_file") or 0
                least = min(least, max(0, most - (_number(f"{root}{group}/{used}") or 0) + reclaimable))
    return least


def _address_space() -> int:
    if resource is None:
        return 1 << 62
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return 1 << 62
    return max(0, soft - 1024 * (_field("/proc/self/status", "VmSize:") or 0))
