"""Compiled kernels kept on disk, one checked file each; any doubt about a file counts as a miss.

Numba's own cache can serve code of another signature, other options or older sources. Here the name
of a file is a digest of everything that the code depends on, and a file is only ever replaced whole.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import stat
import tempfile
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import serialize
from numba.core.compiler import CompileResult

MAGIC = b"triconv kernel 1\n"
SUFFIX = ".kernel"
DRAFT = ".draft"
# Settings of Numba that do not change the code that it makes.
INERT = {"NUMBA_NUM_THREADS", "NUM_THREADS", "THREADING_LAYER", "THREADING_LAYER_PRIORITY", "CACHE_DIR"}


def folder() -> Path:
    """Where compiled kernels are kept: ``TRICONV_CACHE_DIR``, else under the user's cache folder."""
    if own := os.environ.get("TRICONV_CACHE_DIR"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "triconv"


def files() -> list[Path]:
    """Every file of the cache."""
    return sorted(folder().glob(f"*{SUFFIX}"))


def size() -> tuple[int, int]:
    """How many files there are, and their bytes."""
    count, total = 0, 0
    for path in files():
        with contextlib.suppress(FileNotFoundError):  # another process may clear the cache meanwhile
            total += path.stat().st_size
            count += 1
    return count, total


def clear() -> tuple[int, int]:
    """Delete every file of the cache; says how many there were, and their bytes."""
    found = size()
    for path in (*files(), *folder().glob(f"*{DRAFT}")):
        path.unlink(missing_ok=True)
    return found


class Cache:
    """What Numba's dispatcher asks to load and to save a compiled function."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self.name = name
        self.options = options

    def load_overload(self, signature: Any, context: Any) -> CompileResult | None:
        """The compiled function, or None."""
        key = self._key(signature)
        try:
            path = trusted() / (digest(key) + SUFFIX)
            blob = path.read_bytes()
            head, data = blob[: len(MAGIC) + 32], blob[len(MAGIC) + 32 :]
            if head != MAGIC + hashlib.sha256(data).digest():
                return None
            found, parts = pickle.loads(data)
            if found != key:
                return None
            context.refresh()
            return CompileResult._rebuild(context, *parts)
        except Exception:  # a damaged entry must never cost more than compiling again
            return None

    def save_overload(self, signature: Any, result: CompileResult) -> None:
        """Write the compiled function; a folder that cannot be written is left alone."""
        key = self._key(signature)
        data = serialize.dumps((key, result._reduce()))
        try:
            home = trusted()
            handle, draft = tempfile.mkstemp(dir=home, suffix=DRAFT)
        except OSError:
            return
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(MAGIC + hashlib.sha256(data).digest() + data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, home / (digest(key) + SUFFIX))
        except OSError:
            Path(draft).unlink(missing_ok=True)

    def number(self, signature: Any) -> int:
        """A number that belongs to this entry, far from those of other entries and from small ones."""
        return (int(digest(self._key(signature))[:12], 16) + 1) << 14

    def _key(self, signature: Any) -> str:
        settings = {
            name: value
            for name, value in vars(numba.config).items()
            if name.isupper() and name not in INERT and isinstance(value, int | float | str | None)
        }
        return repr(
            (self.name, str(signature), sorted(self.options.items()), sorted(settings.items()), build())
        )


def digest(key: str) -> str:
    """The name of the file for a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def sources() -> str:
    """A digest of the sources that kernels are made of."""
    found = hashlib.sha256()
    package = Path(__file__).resolve().parent.parent
    for path in sorted((*package.glob("kernels/*.py"), *package.glob("runtime/*.py"))):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


# Taken while the package is imported: sources that change later are not those that run here.
SOURCES = sources()


@functools.cache
def build() -> tuple[str, ...]:
    """Everything outside a kernel that its machine code depends on."""
    from numba.core.registry import cpu_target

    target = cpu_target.target_context.codegen().magic_tuple()
    versions = (numba.__version__, llvmlite.__version__, np.__version__, platform.python_version())
    return (*map(str, target), *versions, SOURCES)


def trusted() -> Path:
    """The cache folder, made where it is missing; refused where others could write to it."""
    home = folder()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = home.stat()
    if hasattr(os, "getuid") and (info.st_uid != os.getuid() or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        raise PermissionError(f"{home} can be written by others")
    return home
