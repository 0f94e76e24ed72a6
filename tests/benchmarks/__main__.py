"""`python -m tests.benchmarks`: measures, and prints tables (Markdown) or, with --json, everything as JSON."""

import argparse
import json
import signal
import sys
import traceback
from pathlib import Path

from inbox.core.log import configure
from tests.benchmarks import wrk
from tests.benchmarks.bars import BARS
from tests.benchmarks.contestants import everybody
from tests.benchmarks.contestants.base import Missing
from tests.benchmarks.figures import Report
from tests.benchmarks.letters import Letters
from tests.benchmarks.plan import Plan, machine


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    listed = ", ".join(BARS)
    parser.add_argument("--only", default="", metavar="BAR,…", help=f"measure only these: {listed}")
    parser.add_argument("--contestants", default="", metavar="KEY,…", help=", ".join(item.key for item in everybody()))
    parser.add_argument("--rounds", type=int, help="how often everybody has a turn (5)")
    parser.add_argument("--seconds", type=float, help="how long a turn is measured (4)")
    parser.add_argument("--events", type=int, help="stored events for the bar `growth` (1000000)")
    parser.add_argument("--all", action="store_true", help="all 24 loads: connections × sizes × keep-alive")
    parser.add_argument("--few", action="store_true", help="two loads: 32 connections and one, 1 KiB, keep-alive")
    parser.add_argument("--quick", action="store_true", help="a look in some minutes; the figures say little")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--render", type=Path, metavar="FILE", help="measure nothing, print the tables of a JSON file")
    parser.add_argument("--scratch", type=Path, default=Path(".benchmarks"), help="folder on the disk to be measured")
    options = parser.parse_args(given)
    options.only = [name for name in options.only.split(",") if name]
    options.contestants = [key for key in options.contestants.split(",") if key]
    known = {"BAR": (options.only, list(BARS)), "KEY": (options.contestants, [item.key for item in everybody()])}
    for word, (names, allowed) in known.items():
        if unknown := [name for name in names if name not in allowed]:
            parser.error(f"{word} {unknown[0]!r} is unknown; allowed: {', '.join(allowed)}")
    return options


def planned(options: argparse.Namespace) -> Plan:
    """Install the contestants and return the plan."""
    scratch = options.scratch.absolute()
    letters = Letters(scratch / "letters")
    plan = Plan(scratch=scratch, letters=letters, report=Report(machine(scratch)), contestants=[])
    if options.quick:
        plan.rounds, plan.seconds, plan.events, plan.backlog, plan.many = 1, 2.0, 20_000, 2_000, 5_000
        plan.singles, plan.idle, plan.cells = 100, 5.0, "few"
    plan.rounds = options.rounds or plan.rounds
    plan.seconds = options.seconds or plan.seconds
    plan.events = options.events or plan.events
    plan.cells = "all" if options.all else "few" if options.few else plan.cells
    present = []
    for contestant in everybody():
        if options.contestants and contestant.key not in options.contestants:
            continue
        plan.say(f"installing: {contestant.name}")
        try:
            contestant.install(scratch)
        except Missing as error:
            plan.absent[contestant.name] = f"not here: {error}"
        else:
            present.append(contestant)
    plan.contestants = present
    return plan


def main(given: list[str] | None = None) -> int:
    """Measure what was asked for; 1 if a measurement failed (a bar that is not reached is no failure)."""
    options = arguments(given)
    if options.render:
        sys.stdout.write(Report.from_dict(json.loads(options.render.read_text())).markdown())
        return 0
    if why := wrk.missing():
        sys.stderr.write(f"{why}\n")
        return 1
    configure("warning")  # what our own code logs here goes to standard error, beside the report
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended on the way out
    plan = planned(options)
    for name, bar in BARS.items():
        if options.only and name not in options.only:
            continue
        plan.say(name)
        try:
            bar(plan)
        except Exception as error:
            traceback.print_exc()
            plan.report.failures.append(f"{name}: {error!r}")
        (plan.scratch / "last.json").write_text(json.dumps(plan.report.as_dict(), indent=2))
    text = json.dumps(plan.report.as_dict(), indent=2) if options.json else plan.report.markdown()
    sys.stdout.write(f"{text}\n")
    return 1 if plan.report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
