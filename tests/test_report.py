"""The benchmark's report, of a run whose numbers are made up here."""

import csv
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PAGES = ("README.md", "docs/benchmark.md")
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
LAYERS = ('ih56 ic64 oc64 kh3 ph1 f32 "a"', 'ih28 ic8 oc8 kh1 f32 "b"')
MACHINE = {
    "quick": False,
    "triconv": "9.9",
    "python": "3.99",
    "numpy": "2.99",
    "numba": "0.99",
    "machine": "x86_64",
    "cpu": {"brand_raw": "Some CPU"},
    "cores": 2,
    "threads": 2,
    "vector_bits": 512,
    "target": "some",
    "peers": {"torch": "2.0", "onnxruntime": None},
}


def entry(median, **info):
    return {"stats": {"median": median, "min": median}, "extra_info": info}


def contest(line, ours, suite="layers32", **others):
    return entry(
        ours, kind="contest", suite=suite, line=line, first="triconv plan", seconds=others, fma_rate=1e11
    )


def grid_entries():
    """Direct takes 1 ms, im2col twice and W four times that; "auto" takes im2col once."""
    lines = [
        f'ih32 ic8 oc16 kh{k} sh{s} {padding} {dtype} "small"'
        for dtype, k, padding, s in itertools.product(("f32", "f64"), (1, 3), ("ph0", "same"), (1, 2))
    ]
    for line in lines:
        for method, seconds in {"direct": 1e-3, "im2col": 2e-3, "matrix": 4e-3}.items():
            chosen = method == ("im2col" if line is lines[0] else "direct")
            yield entry(seconds, kind="grid", line=line, method=method, chosen=chosen)


CEILINGS = [
    entry(1.0, kind="fma", dtype="float32", amount=2e11),
    entry(1.0, kind="fma", dtype="float64", amount=1e11),
    entry(1.0, kind="read", amount=1e10),
]
CONTESTS = [contest(LAYERS[0], 1e-3, torch=2e-3, openvino=4e-3), contest(LAYERS[1], 1e-3, torch=0.5e-3)]
ITSELF = [
    entry(1.0, kind="itself", question="slow?", value=3.0, most=2.0, least=None),
    entry(1.0, kind="itself", question="fast?", value=3.0, most=None, least=2.0),
]


WHOLE = [*CEILINGS, *CONTESTS, *ITSELF, *grid_entries()]
COMMIT = {"id": "0123456789abcdef0123456789abcdef01234567", "dirty": False}


def report(folder, benchmarks, *arguments, machine=MACHINE, commit=COMMIT):
    file = folder / "run.json"
    found = {
        "machine_info": machine,
        "commit_info": commit,
        "datetime": "2001-02-03T04:05:06",
        "benchmarks": benchmarks,
    }
    file.write_text(json.dumps(found), "utf-8")
    command = [sys.executable, str(BENCHMARKS / "report.py"), str(file), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def rows(text, first):
    """The cells of the rows whose first cell has this."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if re.match(rf"\| [^|]*{re.escape(first)}", line)
    ]


@pytest.fixture
def root(tmp_path):
    """A repository with places for the summaries."""
    for name in PAGES:
        page = tmp_path / "root" / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("above\n<!-- benchmark -->\nold\n<!-- end of benchmark -->\nbelow\n", "utf-8")
    (tmp_path / "root" / "benchmarks").mkdir()
    return tmp_path / "root"


def files(root):
    return {path: path.read_text("utf-8") for path in root.rglob("*") if path.is_file()}


def history(root):
    return list(csv.DictReader((root / "benchmarks" / "history.csv").read_text("utf-8").splitlines()))


def test_a_whole_run(tmp_path, root):
    done = report(tmp_path, WHOLE, root)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.md").read_text("utf-8")
    assert "2001-02-03 04:05 UTC, triconv 9.9, Python 3.99." in text
    assert "Peers: torch 2.0. Not installed, hence left out: onnxruntime." in text
    # The fastest peer's time over ours, and 2 * 56 * 56 * 64 * 9 * 64 operations in a millisecond.
    assert rows(text, "a <br>")[0][1:] == ["torch", "2.00 ms", "1.00 ms", "2.00", "231", "231%"]
    assert rows(text, "b <br>")[0][1:5] == ["torch", "500 us", "1.00 ms", "0.500 (missed)"]
    assert [row[1:] for row in rows(text, "slow?") + rows(text, "fast?")] == [
        ["3.00", "at most 2", "no"],
        ["3.00", "at least 2", "yes"],
    ]
    assert "on 15 of 16 problems; at worst it takes 2.00 times as long." in text
    assert len(rows(text, "stride")) == 16
    assert all(row[1:5] == ["1.00 ms", "2.00 ms", "4.00 ms", "direct"] for row in rows(text, "stride"))
    pictures = re.findall(r"\((\S+\.png)\)", text)
    assert len(pictures) == 5
    assert all((tmp_path / name).stat().st_size > 10_000 for name in pictures)

    for name in PAGES:
        written = (root / name).read_text("utf-8")
        assert written.startswith("above\n<!-- benchmark -->\n")
        assert written.endswith("<!-- end of benchmark -->\nbelow\n")
        assert "old" not in written
        assert "Some CPU, 2 cores, 2 threads each, 2001-02-03" in written
        assert "Peers: torch 2.0." in written
    written = (root / "docs" / "benchmark.md").read_text("utf-8")
    assert "reaches 200 / 100 GFLOP/s" in written.replace("\n", " ")
    assert "10 GB/s" in written
    (summary,) = rows(written, "Layers of networks, float32")
    assert summary[1:] == ["1.00", "0.500", "116%, 231%"]
    assert len(rows(written, "slow?") + rows(written, "fast?")) == 2
    assert "on 15 of 16 problems" in written


def test_the_readme_has_a_column_a_suite_and_a_row_a_dtype(tmp_path, root):
    peers = {"triconv conv2d": 4e-3, "ONNX Runtime": 2e-3, "PyTorch": 1e-3}
    more = [
        contest(LAYERS[0].replace("f32", "f64"), 1e-3, suite="layers64", torch=3e-3),
        contest('ih16 kh5 ph2 f32 "t"', 1e-3, suite="tiny", **peers),
    ]
    assert report(tmp_path, [*WHOLE, *more], root).returncode == 0
    table = [line for line in (root / "README.md").read_text("utf-8").splitlines() if line.startswith("|")]
    assert table == [
        "|  | Layers of networks | Tiny problems |",
        "| :-- | --: | --: |",
        "| float32 | 1.00 | 2.00 (`plan`), 0.250 (`conv2d`) |",
        "| float64 | 3.00 | - |",
    ]
    (row,) = history(root)
    assert [row[name] for name in ("layers64", "tiny_plan", "tiny_conv2d")] == ["3.00", "2.00", "0.250"]


def test_a_whole_run_adds_a_line_to_the_history(tmp_path, root):
    for commit in (COMMIT, COMMIT | {"dirty": True}, {"id": "unversioned", "dirty": False}):
        assert report(tmp_path, WHOLE, root, commit=commit).returncode == 0
    first, second, third = history(root)
    assert {name: value for name, value in first.items() if value} == {
        "date": "2001-02-03",
        "triconv": "9.9",
        "commit": "0123456789ab",
        "python": "3.99",
        "numpy": "2.99",
        "numba": "0.99",
        "cpu": "Some CPU",
        "threads": "2",
        "peers": "torch 2.0",
        "layers32": "1.00",
        "itself": "1.00",
        "auto": "1.04",
    }
    assert second == first | {"commit": "0123456789ab+"}
    assert third == first | {"commit": ""}


def test_a_history_keeps_what_it_has(tmp_path, root):
    """Also the columns of suites that there are no more; what is new has a column at the end."""
    path = root / "benchmarks" / "history.csv"
    path.write_text('date,cpu,former\n2000-01-01,"One, two",1.5\n', "utf-8")
    assert report(tmp_path, WHOLE, root).returncode == 0
    head, old, new = path.read_text("utf-8").splitlines()
    assert head.startswith("date,cpu,former,triconv,commit,python,")
    assert old.rstrip(",") == '2000-01-01,"One, two",1.5'
    assert new.startswith("2001-02-03,Some CPU,,9.9,")


@pytest.mark.parametrize("part", [CEILINGS, CONTESTS, ITSELF, list(grid_entries())])
def test_a_part_of_a_run(tmp_path, part):
    done = report(tmp_path, part)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.md").read_text("utf-8")
    assert all((tmp_path / name).exists() for name in re.findall(r"\((\S+\.png)\)", text))


@pytest.mark.parametrize("machine", [MACHINE, MACHINE | {"quick": True}])
def test_a_summary_is_of_a_whole_run(tmp_path, root, machine):
    before = files(root)
    done = report(tmp_path, WHOLE if machine["quick"] else CONTESTS, root, machine=machine)
    assert (done.returncode, done.stderr) == (1, "the summaries need a whole run\n")
    assert files(root) == before


@pytest.mark.parametrize("name", PAGES)
def test_where_one_has_no_place_for_it_nothing_changes(tmp_path, root, name):
    (root / name).write_text("no marks\n", "utf-8")
    before = files(root)
    done = report(tmp_path, WHOLE, root)
    assert done.returncode == 1
    assert done.stderr == f"{root / name} has no place for the summary\n"
    assert files(root) == before
