"""The benchmark's report, of a run whose numbers are made up here."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
LAYERS = ('ih56 ic64 oc64 kh3 ph1 f32 "a"', 'ih28 ic8 oc8 kh1 f32 "b"')
MACHINE = {
    "triconv": "9.9",
    "python": "3.99",
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


def contest(line, ours, **others):
    return entry(
        ours, kind="contest", suite="layers32", line=line, first="triconv plan", seconds=others, fma_rate=1e11
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


def report(folder, benchmarks, *arguments):
    file = folder / "run.json"
    found = {"machine_info": MACHINE, "datetime": "2001-02-03T04:05:06", "benchmarks": benchmarks}
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


def test_a_whole_run(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("above\n<!-- benchmark -->\nold\n<!-- end of benchmark -->\nbelow\n", "utf-8")
    done = report(tmp_path, [*CEILINGS, *CONTESTS, *ITSELF, *grid_entries()], readme)
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

    written = readme.read_text("utf-8")
    assert written.startswith("above\n<!-- benchmark -->\n")
    assert written.endswith("<!-- end of benchmark -->\nbelow\n")
    assert "old" not in written
    assert "reaches 200 / 100 GFLOP/s" in written.replace("\n", " ")
    assert "10 GB/s" in written
    (summary,) = rows(written, "Layers of networks, float32")
    assert summary[1:] == ["1.00", "0.500", "116%, 231%"]


@pytest.mark.parametrize("part", [CEILINGS, CONTESTS, ITSELF, list(grid_entries())])
def test_a_part_of_a_run(tmp_path, part):
    done = report(tmp_path, part)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.md").read_text("utf-8")
    assert all((tmp_path / name).exists() for name in re.findall(r"\((\S+\.png)\)", text))


def test_a_summary_is_of_a_whole_run(tmp_path):
    done = report(tmp_path, CONTESTS, tmp_path / "README.md")
    assert (done.returncode, done.stderr) == (1, "the summary needs a whole run\n")


def test_a_readme_without_a_place_for_it_stays_as_it_is(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("no marks\n", "utf-8")
    done = report(tmp_path, [*CEILINGS, *CONTESTS, *ITSELF, *grid_entries()], readme)
    assert done.returncode == 1
    assert done.stderr == f"{readme} has no place for the summary\n"
    assert readme.read_text("utf-8") == "no marks\n"
