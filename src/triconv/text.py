"""Tables and numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their names; the first and the last to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for cells in (head, ["-" * len(name) for name in head], *rows):
        first, *others, last = cells
        middle = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=False)]
        lines.append("  ".join([first.ljust(widths[0]), *middle, last]).rstrip())
    return "\n".join(lines)


def format_seconds(seconds: float) -> str:
    """A time in the unit that reads best."""
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if seconds * scale >= 1:
            return f"{format_digits(seconds * scale)} {unit}"
    return f"{format_digits(seconds * 1e6)} us"


def format_digits(value: float) -> str:
    """Three digits, without an exponent."""
    if not (math.isfinite(value) and value > 0):
        return f"{value:.3g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"
