"""The report: from pytest-benchmark's JSON to Markdown and pictures.

python benchmarks/report.py FILE.json         # writes report.md and *.png beside the file
python benchmarks/report.py FILE.json ROOT    # and puts a whole run's figures into the files of ROOT:

README.md and docs/benchmark.md have them between marks, and benchmarks/history.csv one more line.
"""

import csv
import io
import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median

import figures
from problems import SUITES, Problem, parse

from triconv.methods import METHODS
from triconv.text import format_digits, format_seconds

HOW = (
    "All times are medians over blocks of calls with a pause before each; the contenders of a problem take "
    "turns. Every result was checked before it was timed. A call includes making its result array."
)
CEILINGS = (
    "The best that the machine did, in a loop of multiply-adds that stay in registers and in a sum over an "
    "array of 256 MiB. The first is measured again beside every problem against peers; shares of the FMA "
    "rate refer to that."
)
KEPT = ("README.md", "docs/benchmark.md", "benchmarks/history.csv")
MARKS = ("<!-- benchmark -->\n", "<!-- end of benchmark -->\n")
GRID = (
    "Over strides, paddings and kernel sizes. A dash is a W above 1 GiB, which is not built. What the matrix "
    "form reads of W is held against the memory's rate; above 100 % it came from a cache."
)


@dataclass(frozen=True)
class Contest:
    """One problem of a suite: the seconds of all who took part, and the machine's rate meanwhile."""

    problem: Problem
    seconds: dict[str, float]
    fma_rate: float


@dataclass(frozen=True)
class Row:
    """One of our ways to call against its fastest rival."""

    problem: Problem
    ours: float
    rival: str
    theirs: float
    fma_rate: float

    @property
    def ratio(self):
        return self.theirs / self.ours

    @property
    def rate(self):
        return self.problem.flops / self.ours


def read(path):
    """Ceilings, the grid, what "auto" takes on it, the contests of a run, and the library against itself."""
    found = json.loads(Path(path).read_text("utf-8"))
    ceilings, grid, chosen, contests, itself = {}, {}, {}, defaultdict(list), []
    for entry in found["benchmarks"]:
        info, seconds, least = entry["extra_info"], entry["stats"]["median"], entry["stats"]["min"]
        match info.get("kind"):
            case "fma":
                ceilings[info["dtype"]] = info["amount"] / least
            case "read":
                ceilings["read"] = info["amount"] / least
            case "grid":
                problem = parse(info["line"])
                grid[problem, info["method"]] = seconds
                if info["chosen"]:
                    chosen[problem] = info["method"]
            case "contest":
                everyone = {info["first"]: seconds, **info["seconds"]}
                contests[info["suite"]].append(Contest(parse(info["line"]), everyone, info["fma_rate"]))
            case "itself":
                itself.append(info)
    return found, ceilings, grid, chosen, dict(contests), itself


def duels(name, contests):
    """For each way of a suite to call us, its rivals' title and the rows."""
    for ours, rivals in SUITES[name].duels:
        rows = []
        for contest in contests:
            peers = {
                peer: seconds
                for peer, seconds in contest.seconds.items()
                if not peer.startswith("triconv") and (peer in rivals or not rivals)
            }
            if peers:
                best = min(peers, key=peers.get)
                rows.append(Row(contest.problem, contest.seconds[ours], best, peers[best], contest.fma_rate))
        yield ours, " or ".join(rivals) or "the fastest peer", rows


def fought(contests):
    """Each way to call us in each suite that has met a rival."""
    for name in SUITES:
        for ours, rivals, rows in duels(name, contests.get(name, [])):
            if rows:
                yield name, ours, rivals, rows


def mean_ratio(rows):
    """The geometric mean of the rivals' times over ours."""
    return geometric_mean(row.ratio for row in rows)


def margin(info):
    """How far the library is from what is asked of it: at 1 it does just that, above 1 more."""
    return info["value"] / info["least"] if info["most"] is None else info["most"] / info["value"]


def losses(grid, chosen):
    """The time of the method that "auto" takes over the fastest one's, a problem each."""
    for problem, method in chosen.items():
        yield grid[problem, method] / min(grid[problem, name] for name in METHODS if (problem, name) in grid)


def table(head, rows):
    """A Markdown table; the first column to the left, numbers to the right."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines] + [""]


def names(info):
    """The CPU, and the peers that took part with their versions."""
    peers = ", ".join(f"{name} {version}" for name, version in info["peers"].items() if version)
    return info["cpu"].get("brand_raw", info["machine"]), peers


def machine_lines(found, ceilings):
    info = found["machine_info"]
    cpu, peers = names(info)
    absent = ", ".join(name for name, version in info["peers"].items() if not version)
    when = found["datetime"][:16].replace("T", " ")
    lines = [
        "# Benchmark",
        "",
        f"{when} UTC, triconv {info['triconv']}, Python {info['python']}.",
        "",
        f"{cpu}, {info['cores']} cores, vectors of {info['vector_bits']} bits.",
        f"Every contender has {info['threads']} threads.",
        "",
        f"Peers: {peers or 'none'}." + (f" Not installed, hence left out: {absent}." if absent else ""),
        "",
        HOW,
        "",
    ]
    if ceilings:
        rows = [
            [f"multiply-adds, {dtype}", f"{ceilings[dtype] / 1e9:.0f} GFLOP/s"]
            for dtype in ("float32", "float64")
            if dtype in ceilings
        ]
        if "read" in ceilings:
            rows.append(["reading memory", f"{ceilings['read'] / 1e9:.1f} GB/s"])
        lines += [CEILINGS, "", *table(["ceiling", "measured"], rows)]
    return lines


def summary_lines(contests):
    if not contests:
        return []
    rows = []
    for name, ours, rivals, found in fought(contests):
        suite = SUITES[name]
        mean, least = mean_ratio(found), min(row.ratio for row in found)
        met = least >= suite.least and mean >= suite.mean
        cells = [f"{suite.question}: `{ours}`", rivals, str(len(found))]
        for value, bar in ((least, suite.least), (mean, suite.mean)):
            cells += [format_digits(value), f"{bar:g}"]
        rows.append([*cells, "yes" if met else "no"])
    head = ["suite", "against", "problems", "least ratio", "bar", "geometric mean", "bar", "both met"]
    return [
        "## Against peers",
        "",
        "A ratio is the peer's time over ours: above 1 we are faster.",
        "",
        *table(head, rows),
        "![ratios](peers.png)",
        "",
    ]


def suite_lines(name, contests):
    lines = [f"### {SUITES[name].question}", ""]
    for ours, rivals, rows in duels(name, contests):
        cells = [
            [
                f"{row.problem.name} <br> `{row.problem.line.partition(chr(34))[0].strip()}`",
                row.rival,
                format_seconds(row.theirs),
                format_seconds(row.ours),
                format_digits(row.ratio) + (" (missed)" if row.ratio < SUITES[name].least else ""),
                format_digits(row.rate / 1e9),
                f"{row.rate / row.fma_rate:.0%}",
            ]
            for row in rows
        ]
        lines += [f"`{ours}` against {rivals}:", ""] if len(SUITES[name].duels) > 1 else []
        if not rows:
            lines += ["None of the installed peers can do these.", ""]
            continue
        head = ["problem", "best peer", "its time", "ours", "ratio", "GFLOP/s", "of the FMA rate"]
        lines += table(head, cells)
    return lines


def itself_table(itself):
    """Each question with what was measured and what is asked."""
    rows = []
    for info in itself:
        bar = f"at least {info['least']:g}" if info["most"] is None else f"at most {info['most']:g}"
        met = "yes" if margin(info) >= 1 else "no"
        rows.append([info["question"], format_digits(info["value"]), bar, met])
    return table(["", "measured", "bar", "met"], rows)


def where_and_when(found):
    info = found["machine_info"]
    cpu, _ = names(info)
    return f"{cpu}, {info['cores']} cores, {info['threads']} threads each, {found['datetime'][:10]}"


def readme_lines(found, contests):
    """What a reader wants to know first: how fast, beside peers."""
    means = {"float32": defaultdict(list), "float64": defaultdict(list)}
    for name, ours, _, rows in fought(contests):
        title, _, dtype = SUITES[name].question.rpartition(", ")
        call = f" (`{ours.split()[-1]}`)" if len(SUITES[name].duels) > 1 else ""
        means[dtype][title].append(format_digits(mean_ratio(rows)) + call)
    titles = list(dict.fromkeys(title for of_dtype in means.values() for title in of_dtype))
    cells = [[dtype] + [", ".join(of[title]) or "-" for title in titles] for dtype, of in means.items()]
    return [
        "The fastest peer's time over triconv's, geometric means; above 1 triconv is faster.",
        f"{where_and_when(found)}.",
        f"Peers: {names(found['machine_info'])[1]}.",
        "",
        *table(["", *titles], cells),
    ]


def page_lines(found, ceilings, grid, chosen, contests, itself):
    """The machine, a line a suite, and the library against itself."""
    rows = []
    for name, ours, rivals, found_rows in fought(contests):
        suite = SUITES[name]
        shares = [row.rate / row.fma_rate for row in found_rows]
        call = f": `{ours}` against {rivals}" if len(suite.duels) > 1 else ""
        cells = [f"{suite.question}{call}", format_digits(mean_ratio(found_rows))]
        least = min(row.ratio for row in found_rows)
        rows.append([*cells, format_digits(least), f"{median(shares):.0%}, {max(shares):.0%}"])
    rates = " / ".join(f"{ceilings[dtype] / 1e9:.0f}" for dtype in ("float32", "float64"))
    return [
        f"{where_and_when(found)}; a loop of",
        f"multiply-adds in registers reaches {rates} GFLOP/s in float32 / float64, and a sum over memory",
        f"{ceilings['read'] / 1e9:.0f} GB/s. Peers: {names(found['machine_info'])[1]}.",
        "",
        "## Against peers",
        "",
        "The fastest peer's time over ours, above 1 triconv is faster:",
        "",
        *table(["", "geometric mean", "least", "of the multiply-add rate: median, best"], rows),
        "## Against itself",
        "",
        *itself_table(itself),
        auto_line(grid, chosen),
    ]


def history_row(found, grid, chosen, contests, itself):
    """A run in one line: when, what and where it was, and the geometric mean of each table."""
    info, commit = found["machine_info"], found["commit_info"]
    cpu, peers = names(info)
    known = commit["id"] not in ("unversioned", "unknown")  # pytest-benchmark's words for none
    means = {(name, ours): format_digits(mean_ratio(rows)) for name, ours, _, rows in fought(contests)}
    return {
        "date": found["datetime"][:10],
        "triconv": info["triconv"],
        "commit": commit["id"][:12] + ("+" if commit["dirty"] else "") if known else "",
        "python": info["python"],
        "numpy": info["numpy"],
        "numba": info["numba"],
        "cpu": cpu,
        "threads": str(info["threads"]),
        "peers": peers,
        **{
            name if len(suite.duels) == 1 else f"{name}_{ours.split()[-1]}": means.get((name, ours), "")
            for name, suite in SUITES.items()
            for ours, _ in suite.duels
        },
        "itself": format_digits(geometric_mean(map(margin, itself))),
        "auto": format_digits(geometric_mean(losses(grid, chosen))),
    }


def with_row(text, row):
    """A table of comma-separated values with one more row; what is new in it has a column at the end."""
    rows = [*csv.DictReader(io.StringIO(text)), row]
    columns = dict.fromkeys(name for each in rows for name in each)
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def with_summary(path, lines):
    """A file's text with these lines between its marks."""
    before, mark, rest = path.read_text("utf-8").partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not (mark and end):
        sys.exit(f"{path} has no place for the summary")
    return before + mark + "\n".join(["", *lines]).rstrip("\n") + "\n\n" + end + after


def keep(root, found, ceilings, grid, chosen, contests, itself):
    """Put a run's figures into the README, the documentation and the history: into all of them or none."""
    readme, page, history = (root / name for name in KEPT)
    before = history.read_text("utf-8") if history.exists() else ""
    texts = {
        readme: with_summary(readme, readme_lines(found, contests)),
        page: with_summary(page, page_lines(found, ceilings, grid, chosen, contests, itself)),
        history: with_row(before, history_row(found, grid, chosen, contests, itself)),
    }
    for path, text in texts.items():
        path.write_text(text, "utf-8")


def auto_line(grid, chosen):
    """How often "auto" takes the fastest method, and what it loses where it does not."""
    found = list(losses(grid, chosen))
    within = sum(loss <= 1.1 for loss in found)
    return (
        f"`auto` takes a method within 10 % of the fastest on {within} of {len(found)} problems; "
        f"at worst it takes {format_digits(max(found))} times as long."
    )


def grid_lines(grid, chosen, ceilings):
    if not grid:
        return []
    lines = [
        "## The methods",
        "",
        GRID,
        "",
        *([auto_line(grid, chosen), ""] if chosen else []),
        *[f"![times](grid-{size}-{dtype}.png)" for size, dtype in figures.panels(grid)],
        "",
        "![which is fastest](winners.png)",
        "",
        "![memory](memory.png)",
        "",
    ]
    for size, dtype in figures.panels(grid):
        problems = figures.of_panel(grid, size, dtype)
        shapes = f"{problems[0].x_shape[1:]} to {problems[0].filters} maps"
        rows = []
        for problem in problems:
            times = {method: grid.get((problem, method)) for method in METHODS}
            fastest = min((t, method) for method, t in times.items() if t)
            padding = problem.padding if problem.padding == "same" else problem.padding[0]
            read = 0.0
            if times["matrix"] and "read" in ceilings:
                read = problem.matrix_bytes / times["matrix"] / ceilings["read"]
            rows.append(
                [f"{problem.kernel[0]} x {problem.kernel[1]}, stride {problem.stride[0]}, padding {padding}"]
                + [format_seconds(t) if t else "-" for t in times.values()]
                + [fastest[1], format_digits(problem.flops / fastest[0] / 1e9)]
                + [f"{read:.0%}" if read else "-"]
            )
        head = ["problem", *METHODS, "fastest", "its GFLOP/s", "W read, of the memory's rate"]
        lines += [f"### {size}: {shapes}, {dtype}", "", *table(head, rows)]
    return lines


def main(path, root=None):
    folder = Path(path).parent
    found, ceilings, grid, chosen, contests, itself = read(path)
    lines = machine_lines(found, ceilings) + summary_lines(contests)
    for name in SUITES:
        if name in contests:
            lines += suite_lines(name, contests[name])
    if itself:
        lines += ["## Against itself", "", *itself_table(itself)]
    lines += grid_lines(grid, chosen, ceilings)
    (folder / "report.md").write_text("\n".join(lines), "utf-8")

    if grid:
        for size, dtype in figures.panels(grid):
            figures.times(grid, size, dtype).savefig(folder / f"grid-{size}-{dtype}.png", dpi=120)
        figures.winners(grid).savefig(folder / "winners.png", dpi=120)
        figures.memory(grid).savefig(folder / "memory.png", dpi=120)
    if contests:
        groups = []
        for name, ours, _, rows in fought(contests):
            suite = SUITES[name]
            label = f"{suite.question}\n{ours}" if len(suite.duels) > 1 else suite.question
            groups.append((label, suite, rows))
        figures.ratios(groups).savefig(folder / "peers.png", dpi=120)
    if root:
        if found["machine_info"]["quick"] or not all((ceilings, grid, chosen, contests, itself)):
            sys.exit("the summaries need a whole run")
        keep(Path(root), found, ceilings, grid, chosen, contests, itself)
    print(f"the report is in {folder / 'report.md'}")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__.strip())
    main(*sys.argv[1:])
