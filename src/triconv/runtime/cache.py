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
import time
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np

from triconv.runtime import internals

MAGIC = b"triconv kernel 1\n"
SUFFIX = ".kernel"
DRAFT = ".draft"
NUMBERS = 1 << 14  # of functions that the code of an entry may hold
ABANDONED = 3600  # seconds after which no one works on a draft any more
# Settings of Numba that do not change the code that it makes.
INERT = {"NUMBA_NUM_THREADS", "NUM_THREADS", "THREADING_LAYER", "THREADING_LAYER_PRIORITY", "CACHE_DIR"}


def folder() -> Path:
    """Where compiled kernels are kept: ``TRICONV_CACHE_DIR``, else under the user's cache folder."""
    own = os.environ.get("TRICONV_CACHE_DIR")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(own or os.path.join(base, "triconv")))


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

    def load_overload(self, signature: Any, context: Any) -> Any:
        """The compiled function, or None."""
        key = self._key(signature)
        try:
            with open(trusted() / (digest(key) + SUFFIX), "rb") as file:
                if not private(os.fstat(file.fileno())):
                    return None
                blob = file.read()
            head, data = blob[: len(MAGIC) + 32], blob[len(MAGIC) + 32 :]
            if head != MAGIC + hashlib.sha256(data).digest():
                return None
            found, parts = pickle.loads(data)
            if found != key:
                return None
            context.refresh()
            return internals.rebuilt(context, parts)
        except Exception:  # a damaged entry must never cost more than compiling again
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Write the compiled function; a folder that cannot be written is left alone."""
        key = self._key(signature)
        try:
            if sources() != SOURCES:  # they changed, perhaps between the digest and the import
                return
            if not 0 <= result.fndesc.uid - self.number(signature) < NUMBERS:  # symbols could be another's
                return
            data = internals.dumps((key, internals.reduced(result)))
            home = trusted()
            sweep(home)
            handle, draft = tempfile.mkstemp(dir=home, suffix=DRAFT)
        except Exception:  # a full disk, or a Numba that this was not written for
            return
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(MAGIC + hashlib.sha256(data).digest() + data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, home / (digest(key) + SUFFIX))
        except OSError:
            with contextlib.suppress(OSError):  # the disk may have turned read-only
                os.unlink(draft)

    def number(self, signature: Any) -> int:
        """A number that belongs to this entry, far from those of other entries and from small ones."""
        return (int(digest(self._key(signature))[:12], 16) + 1) * NUMBERS

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
    """A digest of the sources that kernels are made of; where there are none, never the same twice."""
    found = hashlib.sha256()
    package = Path(__file__).resolve().parent.parent
    paths = sorted((*package.glob("kernels/*.py"), *package.glob("runtime/*.py")))
    for path in paths:
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest() if paths else os.urandom(32).hex()


# Taken while the package is imported: sources that change later are not those that run here.
SOURCES = sources()


@functools.cache
def build() -> tuple[str, ...]:
    """Everything outside a kernel that its machine code depends on."""
    versions = (numba.__version__, llvmlite.__version__, np.__version__, platform.python_version())
    return (*internals.target(), *versions, SOURCES)


def trusted() -> Path:
    """The cache folder, made where it is missing; refused where others could write to it."""
    home = folder()
    if str(home).startswith("~"):
        raise FileNotFoundError("no one knows the user's home")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not private(home.stat()):
        raise PermissionError(f"{home} can be written by others")
    return home


def private(info: os.stat_result) -> bool:
    """Whether a file or folder is the user's own, and no one else can write to it."""
    if not hasattr(os, "getuid"):
        return True
    return info.st_uid == os.getuid() and not info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def trouble() -> str:
    """Why kernels cannot be kept, or not even loaded; empty where they can."""
    if lacking := internals.lacking(internals.KEEPING):
        return f"{lacking}: each process compiles its own"
    home = folder()
    if str(home).startswith("~"):
        return "no one knows the user's home"
    if home.exists() and not private(home.stat()):
        return "others can write there"
    nearest = next(place for place in (home, *home.absolute().parents) if place.exists())
    return "" if nearest.is_dir() and os.access(nearest, os.W_OK) else "cannot be written"


def sweep(home: Path) -> None:
    """Delete the drafts that processes left which were killed."""
    for draft in home.glob(f"*{DRAFT}"):
        with contextlib.suppress(FileNotFoundError):  # another process may be as fast
            if time.time() - draft.stat().st_mtime > ABANDONED:
                draft.unlink()
