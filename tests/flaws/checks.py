"""What a webhook receiver promises, checked from outside: signed requests, kill -9, the effects, the files, the log.

A check raises Violated when the promise is broken, and anything else when the check itself could not be done. It
leaves the target running.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Barrier
from typing import Any

from tests.flaws.sender import Answer, encode, event, post, send, signed
from tests.flaws.target import Target, until

Check = Callable[[Target], None]

SENDERS = 8
ROUNDS = 10
KILLS = (1, 3, 12)
"""After so many acknowledgements, in a round each, everything is killed."""


class Violated(Exception):
    """The target broke the promise that was checked."""


def acknowledged_is_durable(target: Target) -> None:
    """Every event that was acknowledged before a kill -9 has its effect after the restart."""
    acknowledged: list[str] = []
    for count in KILLS:
        acknowledged += _acknowledged_before_a_kill(target, count)
        target.start()
    for event_id in acknowledged:
        _has_effect(target, event_id, "it was acknowledged, and then everything was killed")


def _acknowledged_before_a_kill(target: Target, count: int) -> list[str]:
    """Kill everything at the moment of the `count`-th acknowledgement; return the ids that were acknowledged."""
    acknowledged: list[str] = []

    def deliver(content: dict[str, Any]) -> None:
        if send(target, content).acknowledged:
            acknowledged.append(content["id"])

    with ThreadPoolExecutor(SENDERS) as pool:
        sent = [pool.submit(deliver, event()) for _ in range(count + SENDERS)]
        while len(acknowledged) < count and not all(future.done() for future in sent):
            time.sleep(0.0002)
        target.kill()
    for future in sent:
        future.result()
    if len(acknowledged) < count:
        raise RuntimeError(f"only {len(acknowledged)} events were acknowledged: {target.log_text()[-2000:]}")
    return acknowledged


def copies_run_once(target: Target) -> None:
    """An event that is sent again, before and after its effect, has one effect."""
    content = event()
    _accepted(send(target, content))
    _accepted(send(target, content))
    _has_effect(target, content["id"], "it was accepted")
    _accepted(send(target, content))
    _settle(target)
    _ran_at_most(target, content["id"], 1, "it was sent three times, one after the other")


def concurrent_copies_run_once(target: Target) -> None:
    """Copies that arrive at the same moment have one effect."""
    contents = [event() for _ in range(ROUNDS)]
    with ThreadPoolExecutor(SENDERS) as pool:
        for content in contents:
            together = Barrier(SENDERS)
            copies = [pool.submit(_at_once, together, target, content) for _ in range(SENDERS)]
            for copy in copies:
                _accepted(copy.result())
    for content in contents:
        _has_effect(target, content["id"], "it was accepted")
    _settle(target)
    for content in contents:
        _ran_at_most(target, content["id"], 1, f"it was sent {SENDERS} times at once")


def _at_once(together: Barrier, target: Target, content: dict[str, Any]) -> Answer:
    together.wait(10)
    return send(target, content)


def copies_after_a_restart_run_once(target: Target) -> None:
    """What was done is still known after a kill -9 and a restart."""
    content = event()
    _accepted(send(target, content))
    _has_effect(target, content["id"], "it was accepted")
    _settle(target)
    target.kill()
    target.start()
    _accepted(send(target, content))
    _settle(target)
    _ran_at_most(target, content["id"], 1, "it was sent again after it was done and everything was restarted")


def retry_after_a_crash_is_not_dropped(target: Target) -> None:
    """The sender's retry after a kill -9 before the effect gets the event its effect."""
    content = event()
    with _crash(target, "before", content):
        pass
    _accepted(send(target, content))
    _has_effect(target, content["id"], "everything was killed before its effect, and its sender sent it again")
    _settle(target)
    _ran_at_most(target, content["id"], 1, "it was killed before its effect")


def retry_after_the_effect_is_a_duplicate(target: Target) -> None:
    """No effect without a record: after a kill -9 just after the effect the sender's retry is a duplicate.

    The work may be done once more, because one crash may hide that it was done, but not a third time.
    """
    content = event()
    with _crash(target, "after", content):
        if not target.effects(content["id"]):
            raise RuntimeError("it was killed too early")
    answer = send(target, content)
    if answer != Answer(200, "duplicate"):
        raise Violated(f"the work was done, and the sender's retry was answered with {answer}")
    until(lambda: target.effects(content["id"]) > 2, target.calm)
    _accepted(send(target, content))
    _settle(target)
    _ran_at_most(target, content["id"], 2, "there was one crash")


@contextmanager
def _crash(target: Target, when: str, content: dict[str, Any]) -> Iterator[None]:
    """Kill everything while the work for this event is at a point; look around in the block; start again."""
    with _held(target, when), ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send, target, content)
        _reaches_hold(target)
        target.kill()
        sent.result()
        yield
    target.start()


@contextmanager
def _held(target: Target, when: str) -> Iterator[None]:
    """Let the work stop at a point for the length of the block."""
    target.hold(when)
    try:
        yield
    finally:
        target.release()


def _reaches_hold(target: Target) -> None:
    if not until(lambda: target.held, 20):
        raise RuntimeError(f"the work did not begin: {target.log_text()[-2000:]}")


def a_lost_wake_up_is_found(target: Target) -> None:
    """Acknowledged events whose wake-ups are gone, with the queue and with whoever had taken one, have their effect."""
    contents = [event() for _ in range(SENDERS)]
    with _held(target, "before"), ThreadPoolExecutor(SENDERS) as pool:
        sent = [pool.submit(send, target, content) for content in contents]
        _reaches_hold(target)
        for future in sent:
            _accepted(future.result())
        target.kill()
        for path in target.folder.glob("queue*"):
            path.unlink()
    target.start()
    for content in contents:
        _has_effect(target, content["id"], "it was acknowledged, and the queue was lost")


UNREADABLE = (
    b"[" * 100_000,
    b'{"id": ' * 5_000,
    b"{",
    b"",
    b"\xff\xfe\x00",
    b'{"id": NaN, "id": 1}',
    b"9" * 10_000,
    b'"text"',
)
"""Bodies that break parsers, or are no event."""


def forged_is_refused_before_it_is_parsed(target: Target) -> None:
    """Whoever does not prove who he is gets 401, whatever his body is, and does no harm."""
    forged = [(body, {**signed(target, body), "X-Acme-Signature": "0" * 64}) for body in (*UNREADABLE, encode(event()))]
    body = encode(event())
    headers = signed(target, body)
    forged += [(body, {**headers, "X-Acme-Signature": value}) for value in ("", "nonsense", "0" * 63, "\xe9" * 64)]
    forged += [(body, {"X-Acme-Signature": headers["X-Acme-Signature"]}), (body + b" ", headers), (UNREADABLE[0], {})]
    for number, (content, proof) in enumerate(forged):
        answer = post(target, content, proof)
        if answer.status != 401:
            raise Violated(f"forged request {number}, {content[:20]!r}…, was answered with {answer}")
    genuine = event()
    _accepted(send(target, genuine))
    _has_effect(target, genuine["id"], "it was accepted after the forged ones")


def stale_is_refused(target: Target) -> None:
    """A genuine signature that is old, of the future, or under another timestamp is refused and has no effect."""
    content = event()
    body = encode(content)
    now = time.time()
    renewed = {**signed(target, body, now - 3600), "X-Acme-Timestamp": str(int(now))}
    for headers in (signed(target, body, now - 3600), signed(target, body, now + 3600), renewed):
        answer = post(target, body, headers)
        if answer.status != 401:
            raise Violated(f"a signature of another hour was answered with {answer}")
    _settle(target)
    _ran_at_most(target, content["id"], 0, "it was never accepted")


def older_after_newer_keeps_newest(target: Target) -> None:
    """An event that comes late changes nothing that is newer, and a newer one still does."""
    entity = secrets.token_hex(8)
    for version, expected in ((2, 2), (1, 2), (3, 3)):
        content = event(version, entity=entity)
        _accepted(send(target, content))
        _has_effect(target, content["id"], "it was accepted")
        found = target.version(entity)
        if found != expected:
            raise Violated(f"version {version} came last, {expected} is newest, and the state is {found}")


def secrets_stay_out_of_logs_and_files(target: Target) -> None:
    """The signing secret and a bearer token are in no file and no log line; valid signatures are in no log line."""
    token = f"token-{secrets.token_hex(16)}"
    content, forged = encode(event()), encode(event())
    genuine = {**signed(target, content), "Authorization": f"Bearer {token}"}
    _accepted(post(target, content, genuine))
    wrong = {**genuine, "X-Acme-Signature": "0" * 64}
    for body, headers in ((forged, wrong), (b"{", wrong), (forged, {**genuine, "X-Acme-Timestamp": "soon"})):
        post(target, body, headers)
    _settle(target)
    for name, found in _files(target):
        for kind, value in (("signing secret", target.secret), ("bearer token", token)):
            if value.encode() in found:
                raise Violated(f"the {kind} is in {name}")
    logged = target.log_text()
    for headers in (genuine, signed(target, forged)):
        if headers["X-Acme-Signature"] in logged:
            raise Violated("a signature that somebody could use is in the log")


def _files(target: Target) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file but those that are there to hold the secret."""
    for path in target.folder.rglob("*"):
        if path.is_file() and path.name not in target.keeps_secret:
            with suppress(FileNotFoundError):  # a journal of SQLite comes and goes
                yield path.name, path.read_bytes()


def _accepted(answer: Answer) -> None:
    if not answer.acknowledged:
        raise RuntimeError(f"a genuine request was answered with {answer}")


def _has_effect(target: Target, event_id: str, why: str) -> None:
    if not until(lambda: target.effects(event_id), target.patience):
        raise Violated(f"an event has no effect: {why}")


def _ran_at_most(target: Target, event_id: str, most: int, why: str) -> None:
    found = target.effects(event_id)
    if found > most:
        raise Violated(f"the work was done {found} times instead of {most}: {why}")


def _settle(target: Target) -> None:
    """Wait until what was sent so far is worked on: an event that is sent now has its effect, and a moment more."""
    last = event()
    _accepted(send(target, last))
    if not until(lambda: target.effects(last["id"]), target.patience):
        raise RuntimeError(f"an ordinary event was not worked on: {target.log_text()[-2000:]}")
    time.sleep(0.05)


CHECKS: tuple[Check, ...] = (
    acknowledged_is_durable,
    copies_run_once,
    concurrent_copies_run_once,
    copies_after_a_restart_run_once,
    retry_after_a_crash_is_not_dropped,
    retry_after_the_effect_is_a_duplicate,
    a_lost_wake_up_is_found,
    forged_is_refused_before_it_is_parsed,
    stale_is_refused,
    older_after_newer_keeps_newest,
    secrets_stay_out_of_logs_and_files,
)
