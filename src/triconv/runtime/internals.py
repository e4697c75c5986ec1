"""Parts of Numba that no release promises: named here alone, each list with what is lost without it.

Results are right in any case. What compiling itself needs, intrinsics and the instructions that they are
written in, is in no list.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import numba


def find(path: str) -> Any:
    """What stands at a path such as ``"package.module:Class.function().attribute"``, or None."""
    module, _, names = path.partition(":")
    try:
        found = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name.removesuffix("()"))
            found = found() if name.endswith("()") else found
    except (ImportError, AttributeError):
        return None
    return found


@functools.cache
def lacking(paths: tuple[str, ...]) -> str:
    """Which of these Numba lacks, in words; empty where it has them all."""
    names = [path.partition(":")[2] for path in paths if find(path) is None]
    return f"Numba {numba.__version__} lacks {', '.join(names)}" if names else ""


_NUMBERS = "numba.core.bytecode:FunctionIdentity._unique_ids"
_LOCK = "numba.core.compiler_lock:global_compiler_lock"
_TARGET = "numba.core.registry:cpu_target.target_context.codegen().magic_tuple"
_DUMPS = "numba.core.serialize:dumps"
_REDUCE = "numba.core.compiler:CompileResult._reduce"
_REBUILD = "numba.core.compiler:CompileResult._rebuild"
# To keep compiled kernels. Without numbers of one's own in their symbols a kernel could run another's code.
KEEPING = (
    _NUMBERS,
    "numba.core.funcdesc:FunctionDescriptor.uid",
    _LOCK,
    _TARGET,
    _DUMPS,
    _REDUCE,
    _REBUILD,
    f"{__name__}:dispatcher()._cache",
)

_CONVENTION = "numba.core.registry:cpu_target.target_context.call_conv"
# To have Numba's threads call a kernel by its address. Without, threads of this library's own do.
LAUNCHING = (
    f"{_CONVENTION}.get_function_type",
    f"{_CONVENTION}.call_function",
    f"{_CONVENTION}.return_status_propagate",
    "numba.core.codegen:JITCodeLibrary.get_pointer_to_function",
    "numba.core.funcdesc:FunctionDescriptor.llvm_func_name",
)

_STARTED = "numba.np.ufunc.parallel:_is_initialized"
# To tell in a forked child whether its parent had started threads. Without, it works alone.
FORKING = (_STARTED,)

lock = find(_LOCK) or threading.RLock()


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Hold the lock that Numba compiles under, and compile even where ``NUMBA_DISABLE_JIT`` is set.

    That is for looking into one's own functions; kernels are made of machine instructions, and Python has
    no other form of them.
    """
    with lock:
        asked, numba.config.DISABLE_JIT = numba.config.DISABLE_JIT, 0
        try:
            yield
        finally:
            numba.config.DISABLE_JIT = asked


def target() -> tuple[str, ...]:
    """LLVM's words for the machine that kernels are compiled for: its triple, its name and its features.

    Where they are not to be had, ones that fit any machine.
    """
    words = find(_TARGET)
    return tuple(map(str, words())) if words else ("", "unknown", "")


def dumps(thing: Any) -> bytes:
    """Pickle what may hold functions."""
    return find(_DUMPS)(thing)


def reduced(result: Any) -> Any:
    """The parts of a compiled function that can be pickled."""
    return find(_REDUCE)(result)


def rebuilt(context: Any, parts: Any) -> Any:
    """A compiled function of such parts."""
    return find(_REBUILD)(context, *parts)


def started() -> bool:
    """Whether Numba has started its threads; true where that is not to be known."""
    return find(_STARTED) is not False


def dispatcher(function: Any = lambda: None, **options: Any) -> Any:
    """Numba's wrapper of a function, which compiles it where it is called."""
    with compiling():
        return numba.njit(**options)(function)


@contextlib.contextmanager
def kept(dispatcher: Any, store: Any, start: int) -> Iterator[None]:
    """Have a dispatcher ask ``store`` before it compiles, and number what it compiles from ``start``.

    Numba numbers the functions of a process from 1 and puts the numbers into its symbols, so the symbols
    of a kernel from disk could be those of another one compiled here, and its code be run instead.
    """
    if lacking(KEEPING):
        yield
        return
    dispatcher._cache = store
    owner = find(_NUMBERS.rpartition(".")[0])
    former = owner._unique_ids
    owner._unique_ids = itertools.count(start)
    try:
        yield
    finally:
        owner._unique_ids = former
