"""Bar 6: how fast the worker works a backlog off with a handler that does nothing, and that all of it is recorded."""

from pathlib import Path

from tests.benchmarks.bars.backlog import worker
from tests.benchmarks.bars.busy import feed, until_done
from tests.benchmarks.contestants import Inbox
from tests.benchmarks.figures import Figure, Spread
from tests.benchmarks.plan import Plan
from tests.benchmarks.stored import rows, stored_events

_WRONG = """
SELECT count(*) FROM events LEFT JOIN deliveries ON deliveries.event_id = events.id
LEFT JOIN attempts ON attempts.delivery_id = deliveries.id AND attempts.number = 1
WHERE events.status <> 'succeeded' OR deliveries.status IS NOT 'succeeded' OR deliveries.attempts IS NOT 1
      OR attempts.result IS NOT 'succeeded' OR attempts.finished_at IS NULL
"""
_SPAN = "SELECT count(*), max(finished_at) - min(started_at) FROM attempts"


def drain(plan: Plan) -> None:
    """Receive without a worker, then start one; the time runs from the first attempt's start to the last one's end."""
    rates = []
    for number in range(plan.rounds):
        with plan.folder() as folder:
            rates.append(_round(plan, folder))
        plan.say(f"drain, round {number + 1}: {rates[-1]:,.0f}/s")
    name = f"drain of {plan.backlog:,} events, all states and attempts recorded"
    plan.report.figures.append(Figure(bar="6", name=name, value=Spread.of(rates), unit="events/s", bound=("≥", 3000)))


def _round(plan: Plan, folder: Path) -> float:
    database = folder / "inbox.db"
    with Inbox("serve").running(folder, plan.letters.secret) as port:
        feed(plan, port, database, plan.backlog)
        with worker(plan, folder):
            until_done(database, plan.backlog / 50 + 60)
    events = stored_events(database)
    ((wrong,),) = rows(database, _WRONG)
    ((attempts, seconds),) = rows(database, _SPAN)
    if wrong or attempts != events:
        raise AssertionError(f"of {events} events {wrong} are not recorded as they should be; {attempts} attempts")
    return float(events / seconds)
