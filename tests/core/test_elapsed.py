"""How much time has surely passed: what the clocks say, look by look."""

import pytest

from inbox.core.elapsed import NEAR, SETTLE, STEP, Change, Clocks, Passed, confirmed, first, look

DAY = 86_400.0
NOW = 1_767_225_600.0
START = Passed(NOW, Clocks(NOW, 1000.0, "boot", synchronised=True))


def after(
    before: Passed, seconds: float, *, jump: float = 0.0, boot: str = "boot", synchronised: bool = True
) -> tuple[Passed, list[Change]]:
    """Return what is known after looks every minute for so many seconds; the clock jumps before the first of them."""
    steady, wall, changes = before.clocks.steady, before.clocks.wall + jump, list[Change]()
    while seconds > 0:
        step = min(60.0, seconds)
        seconds, steady, wall = seconds - step, steady + step, wall + step
        found = look(before, Clocks(wall, steady, boot, synchronised))
        before = found.passed
        changes += [found.change] if found.change else []
    return before, changes


def away(
    before: Passed, seconds: float, *, wrong: float = 0.0, boot: str = "other", synchronised: bool = True
) -> tuple[Passed, Change]:
    """Return what is known at the first look after the machine was off; then its clock is wrong by so much."""
    found = look(before, Clocks(before.clocks.wall + seconds + wrong, 30.0, boot, synchronised))
    return found.passed, found.change


def test_time_passes_while_the_clocks_agree() -> None:
    """And nothing is in doubt."""
    passed, changes = after(START, 2 * DAY)
    assert (NOW + 2 * DAY, False, []) == (passed.known, passed.doubtful, changes)


@pytest.mark.parametrize("jump", [40 * DAY, STEP + 1, -STEP - 1, -40 * DAY, 44 * 365 * DAY])
def test_a_jump_counts_nothing_and_is_over_when_the_clock_is_right_again(jump: float) -> None:
    """The known time goes on by the steady clock; that it jumped is known for an hour, for those who tell people."""
    passed, changes = after(START, 120.0, jump=jump)
    assert (NOW + 120, True, jump, ["jumped"]) == (passed.known, passed.doubtful, passed.gap, changes)
    passed, changes = after(passed, 60.0, jump=-jump)
    assert (NOW + 180, False, ["returned"], NOW + 60) == (passed.known, passed.doubtful, changes, passed.jumped_at)
    passed, changes = after(passed, SETTLE)
    assert (NOW + 180 + SETTLE, None, []) == (passed.known, passed.jumped_at, changes)


@pytest.mark.parametrize("synchronised", [True, False])
def test_a_jump_that_stays_is_taken_over_after_an_hour_and_makes_nothing_older(synchronised: bool) -> None:
    """Also where the kernel believes a time server, which may be wrong: then its marks move along."""
    passed, changes = after(START, SETTLE, jump=40 * DAY, synchronised=synchronised)
    assert (NOW + SETTLE, ["jumped"]) == (passed.known, changes)
    steady = passed.clocks.steady + 60.0
    found = look(passed, Clocks(NOW + 40 * DAY + SETTLE + 60, steady, "boot", synchronised))
    assert found.shift is not None
    assert ("settled", 40 * DAY, False) == (found.change, found.shift.seconds, found.shift.only_doubtful)
    assert (NOW + 40 * DAY + SETTLE + 60, False) == (found.passed.known, found.passed.doubtful)


def test_a_clock_that_jumps_again_and_again_stays_in_doubt() -> None:
    """The hour begins anew with each jump."""
    passed = START
    for number in range(50):
        passed, _ = after(passed, SETTLE / 2, jump=DAY * (number + 1))
    assert (NOW + 25 * SETTLE, True) == (passed.known, passed.doubtful)


@pytest.mark.parametrize("rate", [10.0, 1.5])
def test_a_clock_that_runs_too_fast_is_noticed(rate: float) -> None:
    """Each look finds a small step, but all of them together are none."""
    passed, changes = START, list[Change]()
    for number in range(1, 100):
        found = look(passed, Clocks(NOW + 60 * number * rate, 1000.0 + 60 * number, "boot", True))
        passed, changes = found.passed, [*changes, found.change]
        assert passed.known <= NOW + 60 * number * 1.02
    assert "jumped" in changes


def test_small_steps_are_followed_slowly() -> None:
    """As a time server makes them; the known time comes to the time of day without a jump."""
    passed, changes = after(START, 60.0, jump=200.0)
    assert (pytest.approx(NOW + 60.6), []) == (passed.known, changes)
    passed, changes = after(passed, 10 * 3600.0)
    assert (pytest.approx(NOW + 60 + 10 * 3600.0 + 200), []) == (passed.known, changes)


def test_a_short_stop_is_believed() -> None:
    """A restart of the machine, or of the inbox alone: up to an hour nobody can tell, and nothing depends on it."""
    for boot in ("other", "boot"):
        passed, change = away(START, 600.0, boot=boot, synchronised=False)
        assert (NOW + 600, False, "") == (passed.known, passed.doubtful, change)


def test_a_long_stop_counts_where_the_clock_was_kept_right_before_and_after() -> None:
    """Nobody has to do anything after a holiday."""
    passed, change = away(START, 40 * DAY)
    assert (NOW + 40 * DAY, False, "counted") == (passed.known, passed.doubtful, change)


@pytest.mark.parametrize(("before", "later"), [(False, True), (True, False), (False, False)])
def test_a_long_stop_without_proof_counts_nothing(before: bool, later: bool) -> None:
    """A dead battery says 2070 until a time server is asked; what it said before the stop may have been wrong, too."""
    start, _ = after(START, 60.0, synchronised=before)
    passed, change = away(start, 40 * DAY, synchronised=later)
    assert (NOW + 60, True, "jumped") == (passed.known, passed.doubtful, change)
    passed, _ = after(passed, 2 * SETTLE, boot="other", synchronised=False)
    assert (False, NOW + 60 + 40 * DAY + 2 * SETTLE) == (passed.doubtful, passed.known)


def test_a_dead_battery_hurts_nothing_before_the_clock_is_set() -> None:
    """2070 counts nothing; when a time server has set the clock, the days for which the machine was off count."""
    passed, change = away(START, 40 * DAY, wrong=44 * 365 * DAY, synchronised=False)
    assert ("jumped", NOW) == (change, passed.known)
    passed, changes = after(passed, 60.0, jump=-44 * 365 * DAY, boot="other")
    assert (["counted"], NOW + 40 * DAY + 60) == (changes, passed.known)


def test_a_clock_without_battery_hurts_nothing() -> None:
    """It begins where it stood, or in 1970, and is set later: time in which the machine was off does not count then."""
    for stood in (0.0, -NOW):
        passed, _ = away(START, 0.0, wrong=stood, synchronised=False)
        passed, changes = after(passed, 60.0, jump=40 * DAY - stood, boot="other", synchronised=False)
        assert (True, "jumped") == (passed.doubtful, changes[-1])
        assert passed.known <= NOW + 60.0


def test_two_clocks_that_jump_together_count_nothing() -> None:
    """As under a program that deceives a process about both: the last look is too far away."""
    found = look(START, Clocks(NOW + 40 * DAY, 1000.0 + 40 * DAY, "boot", False))
    assert ("jumped", NOW, True) == (found.change, found.passed.known, found.passed.doubtful)


def test_the_first_look_believes_no_clock_that_is_far_from_what_is_stored() -> None:
    """An empty store believes any; later looks need no more proof than the steady clock."""
    clocks = Clocks(NOW, 5.0, "boot", True)
    assert (NOW, False) == (
        look(first(clocks, []), clocks).passed.known,
        look(first(clocks, []), clocks).passed.doubtful,
    )
    found = look(first(clocks, [NOW - 40 * DAY, NOW - 50 * DAY]), clocks)
    assert (NOW - 40 * DAY, True, "jumped") == (found.passed.known, found.passed.doubtful, found.change)
    assert not look(first(clocks, [NOW - 60.0]), clocks).passed.doubtful


@pytest.mark.parametrize(("count", "change", "only_doubtful"), [(False, "settled", False), (True, "counted", True)])
def test_the_owner_can_say_that_the_clock_is_right(count: bool, change: Change, only_doubtful: bool) -> None:
    """And whether the time by which it jumped has really passed."""
    passed, _ = after(START, 60.0, jump=40 * DAY)
    found = confirmed(passed, passed.clocks, count=count)
    assert found.shift is not None
    assert (NOW + 40 * DAY + 60, change, 40 * DAY, only_doubtful) == (
        found.passed.known, found.change, found.shift.seconds, found.shift.only_doubtful,
    )  # fmt: skip
    assert (False, None) == (found.passed.doubtful, found.passed.jumped_at)


def test_time_that_went_back_never_counts() -> None:
    """Whatever the owner says of it."""
    passed, _ = after(START, 60.0, jump=-40 * DAY)
    found = confirmed(passed, passed.clocks, count=True)
    assert found.shift is not None
    assert ("settled", -40 * DAY, False) == (found.change, found.shift.seconds, found.shift.only_doubtful)


def test_between_looks_the_steady_clock_counts() -> None:
    """For as long as a look is near enough to say so."""
    assert (NOW + 5, NOW + NEAR) == (START.now(1005.0), START.now(1000.0 + NEAR))
    assert (None, None) == (START.now(1001.0 + NEAR), START.now(999.0))
