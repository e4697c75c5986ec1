"""Kernels kept on disk: what some processes compiled must serve another one right."""

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


def test_kernels_of_several_processes_work_in_one(tmp_path):
    """Each process numbers its functions from one, so symbols of kernels compiled apart could be the same."""
    for call in CALLS:
        assert right([call], tmp_path)
    files = set(tmp_path.iterdir())
    assert files
    assert right(CALLS, tmp_path)
    assert right(CALLS[::-1], tmp_path)
    assert set(tmp_path.iterdir()) == files  # nothing was compiled again


def zeroed(data):
    """With holes all over the machine code; what surrounds it may still read well."""
    holes = bytearray(data)
    for start in range(4096, len(data) - 4096, 4096):
        holes[start : start + 256] = bytes(256)
    return bytes(holes)


def test_damaged_files_are_not_used(tmp_path):
    call = CALLS[-1:]
    assert right(call, tmp_path)
    for damage in (lambda data: data[: len(data) // 2], zeroed):
        for file in tmp_path.iterdir():
            file.write_bytes(damage(file.read_bytes()))
        assert right(call, tmp_path)
    files = sorted(tmp_path.iterdir())
    contents = [file.read_bytes() for file in files]
    for file, other in zip(files, contents[1:] + contents[:1], strict=True):
        file.write_bytes(other)
    assert right(call, tmp_path)


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
