"""The same checks against receivers with one classic defect each, and against this project: they are able to fail."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flaws import checks
from tests.flaws.checks import CHECKS, Check, Violated
from tests.flaws.target import RECEIVERS, Small, Target, ThisProject


@dataclass(frozen=True)
class Flaw:
    """A receiver's defect: the check that has to find it, and others that it concerns, which are not run on it."""

    found_by: Check
    concerns: tuple[Check, ...] = ()

    @property
    def unconcerned(self) -> list[Check]:
        """Return the checks that the receiver has to pass."""
        return [check for check in CHECKS if check is not self.found_by and check not in self.concerns]


RUNS_COPIES = (
    checks.concurrent_copies_run_once,
    checks.copies_after_a_restart_run_once,
    checks.retry_after_the_effect_is_a_duplicate,
    checks.retry_after_a_crash_is_not_dropped,
)
NO_WAKE_UPS = (checks.a_lost_wake_up_is_found,)
"""Of no concern to receivers that work before they answer."""

FLAWS = {
    "acknowledges_before_commit": Flaw(
        checks.acknowledged_is_durable,
        (
            checks.a_lost_wake_up_is_found,
            checks.copies_after_a_restart_run_once,
            checks.retry_after_the_effect_is_a_duplicate,
        ),
    ),
    "check_then_insert_race": Flaw(checks.concurrent_copies_run_once),
    "effect_before_dedupe": Flaw(checks.copies_run_once, (*RUNS_COPIES[:3], *NO_WAKE_UPS)),
    "no_idempotency_record": Flaw(checks.copies_run_once, RUNS_COPIES),
    "remembers_in_memory": Flaw(checks.copies_after_a_restart_run_once, RUNS_COPIES[2:]),
    "dedupe_before_effect": Flaw(checks.retry_after_a_crash_is_not_dropped, NO_WAKE_UPS),
    "crash_after_effect_before_acknowledgement": Flaw(checks.retry_after_the_effect_is_a_duplicate, NO_WAKE_UPS),
    "loses_a_wake_up": Flaw(checks.a_lost_wake_up_is_found, (checks.acknowledged_is_durable,)),
    "parses_before_verifying": Flaw(checks.forged_is_refused_before_it_is_parsed),
    "accepts_stale_signatures": Flaw(checks.stale_is_refused),
    "assumes_order": Flaw(checks.older_after_newer_keeps_newest),
    "logs_secrets": Flaw(checks.secrets_stay_out_of_logs_and_files),
}


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Target]]:
    """Return the target of a name, made once and ended after the last test: "project", or a small receiver."""
    made: dict[str, Target] = {}

    def find(name: str) -> Target:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = ThisProject(folder) if name == "project" else Small(folder, name)
        return made[name]

    yield find
    for target in made.values():
        target.kill()


@pytest.fixture
def project(targets: Callable[[str], Target]) -> Target:
    """An inbox."""
    return targets("project")


@pytest.fixture
def small(targets: Callable[[str], Target], request: pytest.FixtureRequest) -> Target:
    """The small receiver of this name."""
    return targets(request.param)


def run(check: Check, target: Target) -> None:
    """Run a check on a target that answers, also after a check that failed half-way."""
    target.release()
    if not target.running:
        target.start()
    check(target)


def named(check: Check) -> str:
    return check.__name__


@pytest.mark.parametrize("check", CHECKS, ids=named)
def test_this_project_passes(check: Check, project: Target) -> None:
    """What the checks promise in the name of a receiver holds here."""
    run(check, project)


@pytest.mark.parametrize("check", CHECKS, ids=named)
@pytest.mark.parametrize("small", ["_base"], indirect=True)
def test_the_receiver_without_a_defect_passes(check: Check, small: Target) -> None:
    """The base of the flawed receivers is sound, so what is found in them is the defect."""
    run(check, small)


@pytest.mark.parametrize(("small", "flaw"), FLAWS.items(), ids=FLAWS, indirect=["small"])
def test_the_flaw_is_found(small: Target, flaw: Flaw) -> None:
    """The check that is there for this defect fails, by its own verdict."""
    with pytest.raises(Violated):
        run(flaw.found_by, small)


@pytest.mark.parametrize(
    ("small", "check"),
    [
        pytest.param(name, check, id=f"{name}-{check.__name__}")
        for name, flaw in FLAWS.items()
        for check in flaw.unconcerned
    ],
    indirect=["small"],
)
def test_what_the_flaw_does_not_concern_passes(small: Target, check: Check) -> None:
    """The flawed receiver is not simply broken."""
    run(check, small)


def test_every_flaw_has_a_receiver_and_every_check_a_flaw() -> None:
    """No receiver is left out, and no check that was never seen to fail."""
    assert {path.stem for path in RECEIVERS.glob("[!_]*.py")} == set(FLAWS)
    assert set(CHECKS) == {flaw.found_by for flaw in FLAWS.values()}


def test_the_readme_names_every_flaw_and_the_check_that_finds_it() -> None:
    """The table is what is tested."""
    rows = [
        line.split("|") for line in Path(__file__).with_name("README.md").read_text().splitlines() if line[:3] == "| `"
    ]
    assert {name: flaw.found_by.__name__ for name, flaw in FLAWS.items()} == {
        row[1].strip(" `"): row[3].strip(" `") for row in rows
    }
