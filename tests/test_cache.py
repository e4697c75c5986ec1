"""Kernels kept on disk: what some processes compiled must serve another one right."""

import pytest
from processes import run
from strategies import Problem

# The same kind of kernel with tiles of several shapes: same names and arguments, other code.
CALLS = [
    ("direct", Problem((4, 15), (3, 3), 6, 32, padding=1)),
    ("direct", Problem((4, 15), (3, 3), 6, 5, padding=1)),
    ("direct", Problem((4, 40), (3, 3), padding=1)),
]


def right(calls, folder):
    """Whether each call gives what the definition does, in a fresh process with this cache folder."""
    code = f"""
import triconv
from strategies import Problem
for method, problem in {calls!r}:
    x, weight, bias = problem.integers()
    y = triconv.conv2d(x, weight, bias, method=method, **problem.keywords)
    print((y == problem.expected(x, weight, bias)).all())
"""
    return run(code, TRICONV_CACHE_DIR=str(folder)) == ["True"] * len(calls)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache folder that a process for each call has written to."""
    folder = tmp_path_factory.mktemp("kernels")
    for call in CALLS:
        assert right([call], folder)
    return folder


def test_kernels_of_several_processes_work_in_one(filled):
    """Each process numbers its functions from one, so symbols of kernels compiled apart could be the same."""
    files = set(filled.iterdir())
    assert len(files) > len(CALLS)
    assert right(CALLS, filled)
    assert right(CALLS[::-1], filled)
    assert set(filled.iterdir()) == files  # nothing was compiled again


def without_code(data):
    """With the first of the machine code gone, behind the header of its ELF file."""
    start = data.find(b"\x7fELF") + 64
    return data[:start] + bytes(1024) + data[start + 1024 :]


def test_damaged_files_are_not_used(filled, tmp_path):
    files = sorted(filled.iterdir())
    contents = [file.read_bytes() for file in files]
    damaged = [
        [data[: len(data) // 2] for data in contents],
        [without_code(data) for data in contents],
        contents[1:] + contents[:1],  # whole files under the names of others
    ]
    for n, blobs in enumerate(damaged):
        folder = tmp_path / str(n)
        folder.mkdir(mode=0o700)
        for file, data in zip(files, blobs, strict=True):
            (folder / file.name).write_bytes(data)
        assert right(CALLS[:1], folder)


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
