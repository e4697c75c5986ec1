"""The report: from pytest-benchmark's JSON to Markdown and pictures.

python benchmarks/report.py FILE.json             # writes report.md and *.png beside the file
python benchmarks/report.py FILE.json README.md   # and the summary between the marks in README.md
"""

import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median

import figures
from problems import SUITES, Problem, parse

from triconv.compare import format_digits, format_seconds
from triconv.methods import METHODS

HOW = (
    "All times are medians over blocks of calls with a pause before each; the contenders of a problem take "
    "turns. Every result was checked before it was timed. A call includes making its result array."
)
CEILINGS = (
    "The best that the machine did, in a loop of multiply-adds that stay in registers and in a sum over an "
    "array of 256 MiB. The first is measured again beside every problem against peers; shares of the FMA "
    "rate refer to that."
)
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
                yield SUITES[name], ours, rivals, rows


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
    for suite, ours, rivals, found in fought(contests):
        ratios = [row.ratio for row in found]
        mean, least = geometric_mean(ratios), min(ratios)
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
        most, least, value = info["most"], info["least"], info["value"]
        met = value <= most if least is None else value >= least
        bar = f"at most {most:g}" if least is None else f"at least {least:g}"
        rows.append([info["question"], format_digits(value), bar, "yes" if met else "no"])
    return table(["", "measured", "bar", "met"], rows)


def readme_lines(found, ceilings, grid, chosen, contests, itself):
    """What a reader wants to know first: the machine, a line a suite, the library against itself."""
    info = found["machine_info"]
    cpu, peers = names(info)
    rows = []
    for suite, ours, rivals, found_rows in fought(contests):
        ratios = [row.ratio for row in found_rows]
        shares = [row.rate / row.fma_rate for row in found_rows]
        call = f": `{ours}` against {rivals}" if len(suite.duels) > 1 else ""
        cells = [f"{suite.question}{call}", format_digits(geometric_mean(ratios))]
        rows.append([*cells, format_digits(min(ratios)), f"{median(shares):.0%}, {max(shares):.0%}"])
    rates = " / ".join(f"{ceilings[dtype] / 1e9:.0f}" for dtype in ("float32", "float64"))
    return [
        f"{cpu}, {info['cores']} cores, {info['threads']} threads each, {found['datetime'][:10]}; a loop of",
        f"multiply-adds in registers reaches {rates} GFLOP/s in float32 / float64, and a sum over memory",
        f"{ceilings['read'] / 1e9:.0f} GB/s. Peers: {peers}.",
        "The fastest peer's time over ours, above 1 triconv is faster:",
        "",
        *table(["", "geometric mean", "least", "of the multiply-add rate: median, best"], rows),
        "And against itself:",
        "",
        *itself_table(itself),
        auto_line(grid, chosen),
    ]


def put(path, lines):
    """Replace what stands between the marks of a file."""
    text = path.read_text("utf-8")
    before, mark, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not (mark and end):
        sys.exit(f"{path} has no place for the summary")
    path.write_text(before + mark + "\n".join(["", *lines]).rstrip("\n") + "\n\n" + end + after, "utf-8")


def auto_line(grid, chosen):
    """How often "auto" takes the fastest method, and what it loses where it does not."""
    losses = []
    for problem, method in chosen.items():
        fastest = min(grid[problem, other] for other in METHODS if (problem, other) in grid)
        losses.append(grid[problem, method] / fastest)
    within = sum(loss <= 1.1 for loss in losses)
    return (
        f"`auto` takes a method within 10 % of the fastest on {within} of {len(losses)} problems; "
        f"at worst it takes {format_digits(max(losses))} times as long."
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


def main(path, readme=None):
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
        groups = [
            (f"{suite.question}\n{ours}" if len(suite.duels) > 1 else suite.question, suite, rows)
            for suite, ours, _, rows in fought(contests)
        ]
        figures.ratios(groups).savefig(folder / "peers.png", dpi=120)
    if readme and not all((ceilings, grid, chosen, itself)):
        sys.exit("the summary needs a whole run")
    if readme:
        put(Path(readme), readme_lines(found, ceilings, grid, chosen, contests, itself))
    print(f"the report is in {folder / 'report.md'}")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__.strip())
    main(*sys.argv[1:])
