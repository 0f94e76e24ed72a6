"""Bars 1 and 2: answers per second and their latencies, all contestants in turn, several rounds, under each load."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from tests.benchmarks.contestants import Contestant
from tests.benchmarks.figures import Figure, Line, Spread
from tests.benchmarks.plan import Plan
from tests.benchmarks.stored import stored_events
from tests.benchmarks.wrk import Cell, Load, measure

MAIN = Cell()
SINGLE = Cell(connections=1)
SOME = [
    MAIN,
    SINGLE,
    Cell(connections=8),
    Cell(connections=128),
    Cell(kib=2),
    Cell(kib=64),
    Cell(keep_alive=False),
]
EVERY = [
    Cell(connections=connections, kib=kib, keep_alive=keep_alive)
    for keep_alive in (True, False)
    for kib in (1, 2, 64)
    for connections in (1, 8, 32, 128)
]

Found = Mapping[str, Sequence[Load]]


def answers(plan: Plan) -> None:
    """Measure every cell and report it; the bars are read from the main one and from one connection."""
    for cell in {"all": EVERY, "some": SOME, "few": [MAIN, SINGLE]}[plan.cells]:
        found = cell_of(plan, cell)
        plan.report.lines += lines(plan, cell, found)
        if cell == MAIN:
            plan.report.figures += _main(found)
        if cell == SINGLE and {"bare", "inbox"} <= set(found):
            ratio = [ours.p50 / bare.p50 for ours, bare in zip(found["inbox"], found["bare"], strict=True)]
            name = "one connection: p50, × bare Flask"
            plan.report.figures.append(Figure(bar="2", name=name, value=Spread.of(ratio), bound=("≤", 2.5)))


def cell_of(plan: Plan, cell: Cell) -> Found:
    """Let every contestant have its turn in every round, each in a fresh folder."""
    found: dict[str, list[Load]] = defaultdict(list)
    for number in range(plan.rounds):
        for contestant in plan.contestants:
            result = turn(plan, contestant, cell)
            found[contestant.key].append(result)
            note = f" {result.faults}" if result.faults else ""
            plan.say(
                f"{cell}, round {number + 1}: {contestant.name}: {result.per_second:,.0f}/s, "
                f"p50 {result.p50:.1f}, p99 {result.p99:.1f} ms{note}"
            )
    return found


def turn(plan: Plan, contestant: Contestant, cell: Cell) -> Load:
    """Start a contestant, measure it, stop it. Of the inbox, check that what it acknowledged is stored."""
    with plan.folder() as folder:
        with contestant.running(folder, plan.letters.secret) as port:
            result = measure(plan.letters, port, cell, plan.seconds)
        if contestant.key == "inbox":
            stored = stored_events(folder / "inbox.db")
            if stored < result.answers - result.bad_statuses:
                raise AssertionError(f"{result.answers} requests were answered, {stored} events are stored")
    return result


def lines(plan: Plan, cell: Cell, found: Found) -> list[Line]:
    """Return one line per contestant, also for those that are absent."""
    made = []
    for contestant in plan.contestants:
        loads = found[contestant.key]
        bare = found.get("bare", ())
        faults = sorted({item.faults for item in loads if item.faults})
        spent = ["the prepared requests ran out: the rate is too low"] if any(item.exhausted for item in loads) else []
        made.append(
            Line(
                load=str(cell),
                who=contestant.name,
                what=contestant.what,
                per_second=Spread.of([item.per_second for item in loads]),
                ratio=_ratio(loads, bare) if bare else None,
                p50=Spread.of([item.p50 for item in loads]),
                p99=Spread.of([item.p99 for item in loads]),
                p999=Spread.of([item.p999 for item in loads]),
                note="; ".join([*faults, *spent]),
            )
        )
    return [*made, *(Line(load=str(cell), who=who, what="", note=why) for who, why in plan.absent.items())]


def _main(found: Found) -> list[Figure]:
    ours = found.get("inbox", ())
    if not ours:
        return []
    bars = [
        ("bare", "bare Flask", 0.6),
        ("handwritten", "the hand-written way", 3.0),
        ("knockerlite", "knockerlite", 2.5),
        ("knockerlite-full", "knockerlite, FULL", 2.5),
        ("node-red", "Node-RED", 1.0),
        ("webhook", "Debian's webhook", 0.8),
    ]
    made = [
        Figure(bar="1", name=f"answers/s, × {name}", value=_ratio(ours, found[key]), bound=("≥", bound))
        for key, name, bound in bars
        if key in found
    ]
    tail = Spread.of([item.p99 / item.p50 for item in ours])
    return [*made, Figure(bar="1", name="p99, × p50", value=tail, bound=("≤", 3.0))]


def _ratio(ours: Sequence[Load], others: Sequence[Load]) -> Spread:
    """Return the ratio of the rates, round by round."""
    return Spread.of([a.per_second / b.per_second for a, b in zip(ours, others, strict=True) if b.per_second])
