"""Evidence → what was broken: pure checks of the promise, each breach with its rule and what it is about.

Nothing acknowledged is lost, nothing is stored that was not sent, everything stored is handled, nothing is handled
twice unless a process was disturbed in the middle of it, and nothing is left running. Never touches the inbox.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from inbox.tools.torture.evidence import Evidence, StoredAttempt, StoredDelivery, StoredEvent
from inbox.tools.torture.journal import Reply

UNSURE = frozenset({"crashed", "lost", "timeout", "interrupted"})
"""Results of attempts that may or may not have done their work: another attempt of the same delivery follows."""

MOMENT = 0.25
"""Seconds by which a fault's time may lie beside the time in the store."""

Body = tuple[str, str, str]
"""(source, event key, digest of the body): what makes two requests copies of each other."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule, and the event, delivery or process that breaks it."""

    rule: str
    subject: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}" + (f" ({self.detail})" if self.detail else "")


def check(evidence: Evidence) -> list[Breach]:
    """Return every breach, in the order of the promise; none if it was kept."""
    known = _Known(evidence)
    return [
        *(Breach("damaged database", text) for text in evidence.damage),
        *_acknowledged(known),
        *_copies(known),
        *_stored(known),
        *_delivered(known),
        *_attempted(known),
        *_effects(known),
        *_disturbed(known),
        *(Breach("left running", text) for text in evidence.left),
    ]


@dataclass(frozen=True)
class _Known:
    """The evidence, by what it is about."""

    evidence: Evidence

    @cached_property
    def events(self) -> dict[int, StoredEvent]:
        return {event.id: event for event in self.evidence.events}

    @cached_property
    def deliveries(self) -> dict[int, list[StoredDelivery]]:
        """By event."""
        found = defaultdict(list)
        for delivery in self.evidence.deliveries:
            found[delivery.event_id].append(delivery)
        return found

    @cached_property
    def attempts(self) -> dict[int, list[StoredAttempt]]:
        """By delivery."""
        found = defaultdict(list)
        for attempt in self.evidence.attempts:
            found[attempt.delivery_id].append(attempt)
        return found

    @cached_property
    def answers(self) -> dict[Body, list[Reply]]:
        found = defaultdict(list)
        for answer in self.evidence.answers:
            found[answer.source, answer.key, answer.digest].append(answer)
        return found

    @cached_property
    def steps(self) -> dict[tuple[int, str, int], Counter[str]]:
        """What the handlers wrote, by event, handler and number of the attempt."""
        found: dict[tuple[int, str, int], Counter[str]] = defaultdict(Counter)
        for effect in self.evidence.effects:
            found[effect.event, effect.handler, effect.attempt][effect.step] += 1
        return found

    def of(self, event: StoredEvent) -> list[Reply]:
        """Return what the client was told about the event's body."""
        return self.answers.get((event.source, event.key, event.digest), [])


def _acknowledged(known: _Known) -> Iterator[Breach]:
    """Check that a 2xx names the row of what was sent, and that what is genuine gets a 2xx, a 503 or no answer."""
    for answer in known.evidence.answers:
        name = f"event {answer.id} ({answer.source}, {answer.key})"
        if not answer.acknowledged:
            if answer.fate != "refused" and answer.http not in (0, 503):
                yield Breach(
                    "genuine, but refused", f"{answer.source}, {answer.key}", f"{answer.http} {answer.outcome}"
                )
            continue
        event = known.events.get(answer.id)
        if answer.fate == "refused":
            yield Breach("forged, but believed", name)
        elif event is None:
            yield Breach("acknowledged, but not stored", name, answer.outcome)
        elif (event.source, event.key, event.digest) != (answer.source, answer.key, answer.digest):
            yield Breach("acknowledged, but stored as something else", name, f"{event.source}, {event.key}")
        elif (answer.outcome == "conflict") != (event.conflict_of is not None):
            yield Breach("acknowledged as something else", name, f"{answer.outcome}; the event is {event.status}")


def _copies(known: _Known) -> Iterator[Breach]:
    """Check that copies are told the id of the first, and that only the first is accepted."""
    for (source, key, _), answers in known.answers.items():
        told = [answer for answer in answers if answer.acknowledged]
        if len({answer.id for answer in told}) > 1:
            yield Breach("copies with several ids", f"{source}, {key}", str(sorted({answer.id for answer in told})))
        if sum(answer.outcome == "accepted" for answer in told) > 1:
            yield Breach("accepted twice", f"{source}, {key}")
    live = (event for event in known.evidence.events if event.conflict_of is None and not event.retired)
    keys = Counter((event.source, event.key) for event in live)
    for (source, key), number in keys.items():
        if number > 1:
            yield Breach("stored twice", f"{source}, {key}", f"{number} events")


def _stored(known: _Known) -> Iterator[Breach]:
    """Check that what is stored was sent, was not refused, and was counted as often as it came."""
    for event in known.evidence.events:
        name = f"event {event.id} ({event.source}, {event.key})"
        answers = known.of(event)
        told = sum(answer.acknowledged for answer in answers)
        unknown = sum(answer.http == 0 for answer in answers)
        if not answers or all(answer.fate == "refused" for answer in answers):
            yield Breach("stored, but never sent", name)
        elif not told and not unknown:
            yield Breach("refused, but stored", name, str(sorted({answer.http for answer in answers})))
        elif not told <= 1 + event.duplicates <= told + unknown:
            came = f"{told} acknowledged, {unknown} unanswered"
            yield Breach("copies counted wrongly", name, f"{event.duplicates} copies; {came}")


def _delivered(known: _Known) -> Iterator[Breach]:
    """Check that every event that is to be handled came to its end with every one of its handlers."""
    for event in known.evidence.events:
        name, deliveries = f"event {event.id} ({event.source}, {event.key})", known.deliveries.get(event.id, [])
        if event.conflict_of is not None or event.status in ("quarantined", "ignored"):
            if deliveries:
                yield Breach("handled, but not to be", name, event.status)
            continue
        wanted = (known.evidence.handlers or {}).get(event.source)
        ran = {delivery.handler for delivery in deliveries}
        if not deliveries or (wanted is not None and not wanted <= ran):
            yield Breach("not delivered", name, f"{event.status}; handlers: {', '.join(sorted(ran)) or 'none'}")
            continue
        fate = next((answer.fate for answer in known.of(event) if answer.fate != "refused"), "succeeded")
        if event.status not in ("succeeded", "dead"):
            yield Breach("not finished", name, event.status)
        elif event.status != fate:
            yield Breach("came to another end", name, f"{event.status} instead of {fate}")
        for delivery in deliveries:
            if delivery.status not in ("succeeded", "discarded", event.status):
                yield Breach("status does not follow", name, f"{delivery.handler} is {delivery.status}")


def _attempted(known: _Known) -> Iterator[Breach]:
    """Check that attempts and deliveries tell the same story, and that one attempt succeeded where they say so."""
    for delivery in known.evidence.deliveries:
        name, attempts = _name(delivery), known.attempts.get(delivery.id, [])
        results = Counter(attempt.result for attempt in attempts)
        if [attempt.number for attempt in attempts] != list(range(1, delivery.attempts + 1)):
            yield Breach("attempts are missing", name, f"{len(attempts)} of {delivery.attempts}")
        if delivery.crashes != results["crashed"] + results["lost"]:
            yield Breach("crashes counted wrongly", name, f"{delivery.crashes}; {dict(results)}")
        if results["succeeded"] != (delivery.status == "succeeded"):
            yield Breach("succeeded more or less than once", name, f"{delivery.status}; {dict(results)}")
        if results["running"] and delivery.status != "running":
            yield Breach("an attempt without an end", name, delivery.status)


def _effects(known: _Known) -> Iterator[Breach]:
    """Check in the handlers' journal that the work was done, and not done again without a disturbance."""
    seen = set()
    for delivery in known.evidence.deliveries:
        name, ended = _name(delivery), 0
        for attempt in known.attempts.get(delivery.id, []):
            number = (delivery.event_id, delivery.handler, attempt.number)
            seen.add(number)
            steps = known.steps.get(number, Counter())
            ended += steps["end"]
            yield from _attempt_effects(f"{name}, attempt {attempt.number}", attempt.result, steps)
        if delivery.status == "succeeded" and not ended:
            yield Breach("stored, but never handled", name)
    for event_id, handler, attempt_number in sorted(known.steps.keys() - seen):
        yield Breach("handled without an attempt", f"event {event_id}, {handler}, attempt {attempt_number}")


def _attempt_effects(name: str, result: str, steps: Counter[str]) -> Iterator[Breach]:
    if max(steps.values(), default=0) > 1:
        yield Breach("one attempt ran twice", name, str(dict(steps)))
    if result == "succeeded" and not (steps["begin"] and steps["end"]):
        yield Breach("succeeded without its work", name, str(dict(steps)))
    if result in ("retry", "error", "discarded"):
        if steps["end"]:
            yield Breach("handled, and then run again", name, result)
        elif not steps["raise"]:
            yield Breach("failed by itself", name, result)
    if result == "unavailable" and steps:
        yield Breach("ran without its handler", name)


def _disturbed(known: _Known) -> Iterator[Breach]:
    """Check that whoever crashed or lost its lease was killed, or that somebody was held up meanwhile."""
    if known.evidence.faults is None:
        return
    stops = [(fault.at, fault.until) for fault in known.evidence.faults if fault.what in ("stop", "stall", "unlink")]
    kills = defaultdict(list)
    for fault in known.evidence.faults:
        if fault.what == "kill":
            kills[fault.pid].append(fault.at)
    # What a damaged process leaves, its parent records, unless it is killed before.
    parents = [
        fault.at for fault in known.evidence.faults if fault.what == "kill" and fault.role in ("worker", "supervisor")
    ]
    for pid in {effect.pid for effect in known.evidence.effects if effect.step == "damage"}:
        kills[pid] += parents
    for delivery in known.evidence.deliveries:
        for attempt in known.attempts.get(delivery.id, []):
            if attempt.result in ("crashed", "lost") and not _within(attempt, kills.get(attempt.pid, []), stops):
                subject = f"{_name(delivery)}, attempt {attempt.number}"
                yield Breach("rescued without a cause", subject, f"{attempt.result}; nobody disturbed {attempt.worker}")


def _within(attempt: StoredAttempt, kills: Sequence[float], stops: Sequence[tuple[float, float]]) -> bool:
    begin, end = attempt.started_at - MOMENT, (attempt.finished_at or float("inf")) + MOMENT
    return any(begin <= at <= end for at in kills) or any(at <= end and until >= begin for at, until in stops)


def _name(delivery: StoredDelivery) -> str:
    return f"event {delivery.event_id}, {delivery.handler}"
