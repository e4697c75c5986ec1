"""The suites against every peer that is installed, block by block in turns."""

from statistics import median

import measure
from contenders import OURS, PEERS, UnableError, check
from problems import SUITES


def test_contest(benchmark, contest, effort):
    name, problem = contest
    x, weight = problem.arrays()
    ways = [ours for ours, _ in SUITES[name].duels]
    ours, expected = OURS[ways[0]].prepare(problem, x, weight)
    others, unable = {}, {}
    peers = [peer for peer in PEERS.values() if peer.task == SUITES[name].task]
    for contender in [*(OURS[way] for way in ways[1:]), *peers]:
        try:
            others[contender.name], y = contender.prepare(problem, x, weight)
        except UnableError as reason:
            unable[contender.name] = str(reason)
        else:
            check(problem, y, expected)
    fma, operations = measure.fma_loop(problem.dtype)
    fma()
    times = measure.race(benchmark, ours, {"fma": fma, **others}, effort)
    fma_rate = operations / min(times.pop("fma"))
    benchmark.extra_info.update(
        kind="contest",
        suite=name,
        line=problem.line,
        first=ways[0],
        seconds={contender: median(values) for contender, values in times.items()},
        unable=unable,
        fma_rate=fma_rate,
    )
