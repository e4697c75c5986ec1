"""Kernels kept on disk: what some processes compiled must serve another one right."""

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from numba import types
from processes import forks, run
from strategies import FLOATS, Problem

import triconv
from triconv.runtime import cache, jit

pytestmark = pytest.mark.processes

# The same kind of kernel with tiles of several shapes: same names and arguments, other code.
CALLS = [
    ("direct", Problem((4, 15), (3, 3), 6, 32, padding=1)),
    ("direct", Problem((4, 15), (3, 3), 6, 5, padding=1)),
    ("direct", Problem((4, 40), (3, 3), padding=1)),
]
QUICK = [("matrix", Problem((4, 5), (3, 3)))]
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork, users or limits here")


def right(calls, folder, before="", timeout=120):
    """Whether each call gives what the definition does, in a fresh process with this cache folder."""
    code = f"""
{before}
import triconv
from strategies import Problem
for method, problem in {calls!r}:
    x, weight, bias = problem.integers()
    y = triconv.conv2d(x, weight, bias, method=method, **problem.keywords)
    print((y == problem.expected(x, weight, bias)).all())
"""
    return run(code, timeout, TRICONV_CACHE_DIR=str(folder)) == ["True"] * len(calls)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache folder that a process for each call has written to."""
    folder = tmp_path_factory.mktemp("kernels")
    for call in CALLS:
        assert right([call], folder)
    return folder


@pytest.mark.slow
def test_kernels_of_several_processes_work_in_one(filled):
    """Each process numbers its functions from one, so symbols of kernels compiled apart could be the same."""
    files = set(filled.iterdir())
    assert len(files) > len(CALLS)
    assert right(CALLS, filled)
    assert right(CALLS[::-1], filled)
    assert set(filled.iterdir()) == files  # nothing was compiled again


def state(folder):
    """What tells whether anything was written."""
    return {file.name: (file.stat().st_mtime_ns, file.stat().st_ino) for file in folder.iterdir()}


def check_warm(calls, folder):
    """What is there serves all the calls."""
    before = state(folder)
    assert before
    assert right(calls, folder)
    assert state(folder) == before


# --- Damaged files -----------------------------------------------------------------------------------


def flipped(data, bit):
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def without_code(data):
    """With the first of the machine code gone, behind the header of its ELF file."""
    start = data.find(b"\x7fELF") + 64
    return data[:start] + bytes(1024) + data[start + 1024 :]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A folder of the files that the quick call needs."""
    folder = tmp_path_factory.mktemp("quick")
    assert right(QUICK, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "damaged",
    [
        lambda contents: [b"" for data in contents],
        lambda contents: [without_code(data) for data in contents],
        lambda contents: contents[1:] + contents[:1],
    ],
    ids=["emptied", "without code", "under the names of others"],
)
def test_damaged_files_are_not_used(quick, tmp_path, damaged):
    files = sorted(quick.iterdir())
    contents = [file.read_bytes() for file in files]
    for file, data in zip(files, damaged(contents), strict=True):
        (tmp_path / file.name).write_bytes(data)
    tmp_path.chmod(0o700)
    assert right(QUICK, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in files}
    check_warm(QUICK, tmp_path)


@pytest.mark.long
def test_no_flipped_bit_and_no_missing_byte_passes(tmp_path, monkeypatch, fuzz):
    monkeypatch.setenv("TRICONV_CACHE_DIR", str(tmp_path))
    dispatcher = jit.compiled("third", lambda x: x / 3, types.float64(types.float64))
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()

    def loads(changed):
        file.write_bytes(changed)
        return dispatcher._cache.load_overload(types.float64(types.float64), dispatcher.targetctx) is not None

    assert loads(data)
    step = 1 if fuzz else 101
    assert not any(loads(flipped(data, bit)) for bit in range(0, 8 * len(data), step))
    assert not any(loads(data[:size]) for size in range(0, len(data), step))
    assert not loads(data + b"\0")


# --- Many processes, and killed ones -----------------------------------------------------------------


@pytest.mark.long
def test_cold_processes_at_once_with_mixed_dtypes(tmp_path, fuzz):
    """Stock Numba lets two of them claim one file, and a third runs code of the wrong dtype."""
    problem = QUICK[0][1]
    calls = [("matrix", problem.of(dtype)) for dtype in FLOATS] + [("im2col", problem.of("float32"))]
    if not fuzz:
        calls = [call for call in calls if call[1].x_dtype in ("float64", "float32")]
    tmp_path.chmod(0o700)
    with ThreadPoolExecutor(32) as pool:
        turns = [calls[n:] + calls[:n] for n in range(32 if fuzz else 4)]
        assert all(pool.map(lambda turn: right(turn, tmp_path, timeout=1800), turns))
    assert all(file.suffix == cache.SUFFIX for file in tmp_path.iterdir())
    check_warm(calls, tmp_path)


@posix
@pytest.mark.long
def test_processes_killed_at_any_time(tmp_path, fuzz):
    tmp_path.chmod(0o700)
    code = "import triconv; triconv.conv2d([[1.0]], [[1.0]], method='matrix')"
    paths = {"PYTHONPATH": str(Path(triconv.__file__).parents[1]), "TRICONV_CACHE_DIR": str(tmp_path)}
    for n in range(60 if fuzz else 1):
        child = subprocess.Popen([sys.executable, "-c", code], env=os.environ | paths)
        time.sleep(1 + n % 30 / 10)
        child.kill()
        child.wait()
    assert right(QUICK, tmp_path)
    check_warm(QUICK, tmp_path)


# A kernel that compiles in no time, for faults that do not depend on which it is.
THIRD = """
from numba import types
from triconv.runtime import jit
def third():
    made = jit.compiled("third", lambda x: x / 3, types.float64(types.float64))
    return made(6.0)
"""


@pytest.fixture(scope="module")
def forked():
    """Runs codes, each in a process without threads that has compiled nothing."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    with forks() as run:
        yield run


@pytest.fixture
def folder(tmp_path):
    """An empty cache folder."""
    made = tmp_path / "cache"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def third(forked):
    """What a process prints that runs the kernel with a cache folder, after some other code."""

    def run(folder, before=""):
        use = f"import os; os.environ['TRICONV_CACHE_DIR'] = {str(folder)!r}"
        return forked(f"{use}\n{THIRD}{before}\nprint(third())")

    return run


DIES = """
import signal
def dies(module, name, last):
    original = getattr(module, name)
    def replacement(*arguments):
        last(original, *arguments)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(module, name, replacement)
def before(function, *arguments):
    pass
def after(function, *arguments):
    function(*arguments)
def half(function, handle, mode):
    os.write(handle, b"triconv kernel 1")
"""


@pytest.mark.parametrize(
    ("step", "draft"),
    [
        ("os, 'open', before", 0),
        ("os, 'open', after", 1),
        ("os, 'fdopen', half", 1),
        ("os, 'fsync', before", 1),
        ("os, 'fsync', after", 1),
        ("os, 'replace', before", 1),
        ("os, 'replace', after", 0),
    ],
)
def test_a_process_killed_at_any_step_of_a_write(third, folder, step, draft):
    """The next one is right and writes, and the one after that only reads."""
    assert third(folder, f"{DIES}dies({step})") == ["-9"]
    assert len(list(folder.glob(f"*{cache.DRAFT}"))) == draft
    assert third(folder) == ["2.0"]
    kept = state(folder)
    assert len(kept) == draft + 1
    assert third(folder, f"{DIES}dies({step})") == ["2.0"]  # comes to no step of a write
    assert state(folder) == kept


def test_abandoned_drafts_are_deleted(third, folder):
    young, old = folder / f"young{cache.DRAFT}", folder / f"old{cache.DRAFT}"
    for draft in (young, old):
        draft.write_bytes(b"a part")
    os.utime(old, (0, time.time() - cache.ABANDONED - 60))
    assert third(folder) == ["2.0"]
    assert young.exists()
    assert not old.exists()


@pytest.mark.slow
def test_what_several_threads_run_is_kept_too(tmp_path):
    code = "import numpy as np, triconv; print(triconv.conv2d(np.ones((512, 512)), np.ones((3, 3))).sum())"
    environment = {"NUMBA_NUM_THREADS": "2", "TRICONV_CACHE_DIR": str(tmp_path)}
    assert run(code, **environment) == [str(9.0 * 510 * 510)]
    compiled = state(tmp_path)
    assert len(compiled) > 1  # the kernel, and the loop over threads
    assert run(code, **environment) == [str(9.0 * 510 * 510)]
    assert state(tmp_path) == compiled


# --- What the code depends on ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "numba.__version__ += '.post1'",
        "import llvmlite; llvmlite.__version__ += '.post1'",
        "import numpy; numpy.__version__ += '.post1'",
        "import platform; platform.python_version = lambda: '3.99.0'",
        "jit.OPTIONS['error_model'] = 'python'",
        "jit.OPTIONS['fastmath'] = True",
        "numba.config.CPU_NAME = 'x86-64' if numba.config.CPU_NAME == 'generic' else 'generic'",
        "numba.config.CPU_FEATURES = '+sse2'",
        "numba.config.OPT = 1",
        "numba.config.BOUNDSCHECK = 1",
    ],
)
def test_another_version_option_or_machine_has_files_of_its_own(third, folder, change):
    change = f"import numba; {change}"
    assert third(folder) == ["2.0"]
    first = state(folder)
    assert third(folder, change) == ["2.0"]
    both = state(folder)
    assert len(both) == 2
    assert first.items() < both.items()
    assert third(folder) == third(folder, change) == ["2.0"]
    assert state(folder) == both


DOUBLING = """
_once = Emitter.multiply_add
Emitter.multiply_add = lambda self, a, b, c: _once(self, a, b, _once(self, a, b, c))
"""


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the package, and the code that has a process use it."""
    package = tmp_path / "installed" / "triconv"
    shutil.copytree(Path(triconv.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return package, f"import sys; sys.path.insert(0, {str(package.parent)!r})"


@pytest.mark.slow
def test_changed_sources_are_compiled_anew(copied, folder):
    """Also where what changed is in another file than the kernel, and inside what it calls."""
    package, use = copied
    source = package / "kernels" / "simd.py"
    former = source.read_text()
    assert right(QUICK, folder, use)
    files = set(state(folder))
    source.write_text(former + DOUBLING)
    assert not right(QUICK, folder, use)  # it is the new code that runs
    assert set(state(folder)) > files
    source.write_text(former)
    before = state(folder)
    assert right(QUICK, folder, use)
    assert state(folder) == before


def test_sources_that_change_during_import_leave_nothing_behind(copied, folder):
    """An upgrade while a process starts: which of the two it has, no one can tell."""
    package, use = copied
    source = package / "kernels" / "simd.py"
    former = source.read_text()
    upgrade = f"""{use}
class Upgrade:
    def find_spec(name, path, target=None):
        if name == "triconv.kernels.simd" and "triconv.runtime.cache" in sys.modules:
            open({str(source)!r}, "a").write({DOUBLING!r})
sys.meta_path.insert(0, Upgrade)
"""
    assert not right(QUICK, folder, upgrade)
    source.write_text(former)
    assert list(folder.iterdir()) == []
    assert right(QUICK, folder, use)


def test_without_sources_nothing_is_kept(copied, folder):
    """Then no one could tell when they change."""
    package, use = copied
    subprocess.run([sys.executable, "-m", "compileall", "-b", "-q", str(package)], check=True)
    for source in package.rglob("*.py"):
        source.unlink()
    code = f"{use}{THIRD}import triconv\nprint(triconv.__file__, third())"
    words = run(code, TRICONV_CACHE_DIR=str(folder))
    assert words == [str(package / "__init__.pyc"), "2.0"]
    assert list(folder.iterdir()) == []


# --- Where nothing can be written --------------------------------------------------------------------

FAILS = """
import errno, os, tempfile
def fails(*arguments, **keywords):
    raise OSError(errno.ENOSPC, "No space left on device")
"""
FAULTS = {
    "no file can be made": f"{FAILS}tempfile.mkstemp = fails",
    "no byte can be written": f"{FAILS}os.fdopen = fails",
    "a full disk": f"{FAILS}os.fsync = fails",
    "no file can be renamed": f"{FAILS}os.replace = fails",
    "files of a limited size": "import resource, sys; sys.dont_write_bytecode = True\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))",
    "someone else's folder": "import os; own = os.getuid(); os.getuid = lambda: own + 1",
    "no folder": f"{FAILS}os.mkdir = os.stat = fails",
}


@posix
@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_kept_is_compiled(third, folder, fault):
    """Without a word; and once it can be kept, it is."""
    assert third(folder, FAULTS[fault]) == ["2.0"]
    assert list(folder.iterdir()) == []
    assert third(folder) == ["2.0"]
    kept = state(folder)
    assert len(kept) == 1
    assert third(folder) == ["2.0"]
    assert state(folder) == kept


def test_a_disk_that_turns_read_only(third, folder):
    assert third(folder, f"{FAILS}os.replace = os.unlink = fails") == ["2.0"]
    assert third(folder) == ["2.0"]
    assert len(list(folder.glob(f"*{cache.SUFFIX}"))) == 1


def test_a_file_where_the_folder_should_be(third, tmp_path):
    (tmp_path / "cache").write_bytes(b"mine")
    assert third(tmp_path / "cache") == ["2.0"]
    assert third(tmp_path / "cache" / "inside") == ["2.0"]
    assert (tmp_path / "cache").read_bytes() == b"mine"


@posix
def test_a_full_cache_that_is_read_only_is_read(third, folder):
    assert third(folder) == ["2.0"]
    before = state(folder)
    compiles = """
from numba.core import event
with event.install_recorder("numba:compile") as recorder:
    third()
print(len(recorder.buffer))
"""
    read_only = f"{FAILS}os.mkdir = tempfile.mkstemp = fails"
    assert third(folder, read_only + compiles) == ["0", "2.0"]
    assert state(folder) == before


HOMES = {
    "none": "import pwd\ndef unknown(uid): raise KeyError\npwd.getpwuid = unknown\ndel os.environ['HOME']",
    "missing": "os.environ['HOME'] = '/dev/null/missing'",
}


@posix
@pytest.mark.parametrize("home", HOMES)
def test_no_home(copied, tmp_path, home):
    """And nothing is written beside the package, nor in the working folder."""
    package, use = copied
    before = sorted(package.parent.rglob("*"))
    (tmp_path / "work").mkdir()
    code = f"""
import os
os.chdir({str(tmp_path / "work")!r})
for name in ("TRICONV_CACHE_DIR", "XDG_CACHE_HOME"):
    os.environ.pop(name, None)
{HOMES[home]}
{use}{THIRD}print(third())
"""
    assert run(code) == ["2.0"]
    assert sorted(package.parent.rglob("*")) == before
    assert list((tmp_path / "work").iterdir()) == []


# --- Files that others could have written ------------------------------------------------------------


class Trap:
    """Prints a word where it is unpickled."""

    def __reduce__(self):
        return print, ("sprung",)


@posix
@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "before", "words"),
    [
        (0o700, 0o600, "", ["sprung", "2.0"]),  # one's own: shows that the trap works
        (0o755, 0o644, "", ["sprung", "2.0"]),
        (0o777, 0o600, "", ["2.0"]),
        (0o1777, 0o600, "", ["2.0"]),
        (0o770, 0o600, "", ["2.0"]),
        (0o702, 0o600, "", ["2.0"]),
        (0o700, 0o620, "", ["2.0"]),
        (0o700, 0o602, "", ["2.0"]),
        (0o755, 0o644, FAULTS["someone else's folder"], ["2.0"]),
    ],
)
def test_nothing_is_loaded_that_others_could_have_written(
    third, folder, folder_mode, file_mode, before, words
):
    assert third(folder) == ["2.0"]
    (file,) = folder.iterdir()
    data = pickle.dumps(Trap())
    file.write_bytes(cache.MAGIC + hashlib.sha256(data).digest() + data)
    file.chmod(file_mode)
    folder.chmod(folder_mode)
    planted = state(folder)
    assert third(folder, before) == words
    if folder_mode & 0o022 or before:
        assert state(folder) == planted  # nor written there
    else:
        assert third(folder) == ["2.0"]


@posix
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("given", ["file", "folder"])
def test_files_and_folders_of_someone_else_are_not_loaded(third, folder, given):
    assert third(folder) == ["2.0"]
    (file,) = folder.iterdir()
    data = pickle.dumps(Trap())
    file.write_bytes(cache.MAGIC + hashlib.sha256(data).digest() + data)
    os.chown(file if given == "file" else folder, 12345, 12345)
    assert third(folder) == ["2.0"]


def test_where_files_have_no_owner_all_are_the_users(tmp_path, monkeypatch):
    """As on Windows, whose home folders others cannot write."""
    monkeypatch.delattr(os, "getuid")
    tmp_path.chmod(0o777)
    assert cache.private(tmp_path.stat())


def test_all_kinds_of_memory_run_the_same_machine_code(tmp_path):
    """Read-only, plain, strided and foreign arrays: what the first compiled is all that there is."""
    code = """
import os, numpy, triconv
x, weight = numpy.ones((5, 6, 2)), numpy.ones((3, 2, 2, 2))
frozen, frozen_weight = x.copy(), weight.copy()
frozen.flags.writeable = frozen_weight.flags.writeable = False
pairs = (frozen, frozen_weight), (x, weight), (x[::-1], weight[::-1]), (x.tolist(), weight.astype(">f8"))
for pair in pairs:
    triconv.conv2d(*pair, method="direct")
    print(len(os.listdir(os.environ["TRICONV_CACHE_DIR"])))
"""
    assert len(set(run(code, TRICONV_CACHE_DIR=str(tmp_path)))) == 1
