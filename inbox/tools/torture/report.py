"""Evidence → figures: how much was sent, what was done to the inbox, and what came of it."""

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from inbox.tools.torture.evidence import Evidence
from inbox.tools.torture.invariants import Breach
from inbox.tools.torture.journal import Reply


@dataclass(frozen=True)
class Report:
    """The figures of a torture; `breaches` is empty if the promise was kept.

    acknowledged     events that a sender was told to forget; `stored` is what the store has
    again            requests that were sent once more because no answer came, or a 503
    rescued          attempts whose process died; `lost_leases` those whose process came back too late
    handled_again    deliveries whose work was done more than once, each with a cause
    stalls           times when the machine had no time for us, which may cost a lease, too
    damages          what handlers did to their process; its parent recorded what it held
    longest_gap      seconds without an acknowledgement, from the first to the last
    """

    seed: int
    seconds: float
    python: str
    requests: int
    acknowledged: int
    stored: int
    copies: int
    conflicts: int
    forged: int
    unanswered: dict[str, int]
    unavailable: int
    kills: dict[str, int]
    stops: int
    queues_deleted: int
    queues_blocked: int
    damages: dict[str, int]
    logs_deleted: int
    stalls: int
    starts: dict[str, int]
    handled: int
    attempts: dict[str, int]
    rescued: int
    lost_leases: int
    handled_again: int
    longest_gap: float
    breaches: tuple[Breach, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return asdict(self)


def tell(evidence: Evidence, breaches: Sequence[Breach], *, seed: int, seconds: float, starts: int, log: str) -> Report:
    """Return the report; `starts` says how often `inbox run` was started, `log` is what it logged."""
    answers, faults = evidence.answers, evidence.faults or ()
    told = [answer for answer in answers if answer.acknowledged]
    results = Counter(attempt.result for attempt in evidence.attempts)
    ended = Counter((effect.event, effect.handler) for effect in evidence.effects if effect.step == "end")
    return Report(
        seed=seed,
        seconds=round(seconds, 1),
        python=platform.python_version(),
        requests=len(answers),
        acknowledged=len({(answer.source, answer.key, answer.digest) for answer in told}),
        stored=len(evidence.events),
        copies=sum(event.duplicates for event in evidence.events),
        conflicts=sum(event.conflict_of is not None for event in evidence.events),
        forged=sum(answer.fate == "refused" and answer.http == 401 for answer in answers),
        unanswered=dict(Counter(answer.outcome for answer in answers if answer.http == 0)),
        unavailable=sum(answer.http == 503 for answer in answers),
        kills=dict(Counter(fault.role for fault in faults if fault.what == "kill")),
        stops=sum(fault.what == "stop" for fault in faults),
        queues_deleted=sum(fault.what == "delete" for fault in faults),
        queues_blocked=sum(fault.what == "block" for fault in faults),
        damages=dict(Counter(fault.role for fault in faults if fault.what == "damage")),
        logs_deleted=sum(fault.what == "unlink" for fault in faults),
        stalls=sum(fault.what == "stall" for fault in faults),
        starts={
            "inbox run": starts,
            **{name: log.count(f"event=child.started child={name} ") for name in ("receiver", "worker")},
        },
        handled=len(ended),
        attempts=dict(results),
        rescued=results["crashed"] + results["lost"],
        lost_leases=results["lost"],
        handled_again=sum(number > 1 for number in ended.values()),
        longest_gap=longest_gap(told),
        breaches=tuple(breaches),
    )


def longest_gap(told: Sequence[Reply]) -> float:
    """Return the longest time between two acknowledgements, in seconds."""
    times = sorted(answer.at for answer in told)
    return round(max((later - earlier for earlier, later in pairwise(times)), default=0.0), 1)
