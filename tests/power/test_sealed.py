"""The power goes while a receiver seals: the key of what was acknowledged is on the disk with its body."""

from pathlib import Path
from random import Random

import pytest

from inbox.core.models import Secret
from inbox.store.sqlite import Sealer, open_archive, open_inlet
from tests.power.disk import Disk
from tests.power.recording import read
from tests.power.traced import Traced, record

KEY = "ab" * 32


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """A sealing receiver from its first start."""
    return record(tmp_path_factory.mktemp("sealed"), 30, seal_key=KEY)


def opened(folder: Path, wanted: list[int]) -> dict[int, bytes]:
    """Return event id → body as a receiver that starts there has them."""
    sealer = Sealer(folder / "keys.db", [Secret(KEY)])
    open_inlet(folder / "inbox.db", sealer=sealer).close()
    archive = open_archive(folder / "inbox.db", sealer=sealer)
    try:
        return {event: archive.request(event).body for event in wanted}
    finally:
        archive.close()
        sealer.close()


def test_what_was_acknowledged_opens_whatever_the_disk_kept_of_keys_and_database(
    traced: Traced, tmp_path: Path
) -> None:
    """At each answer, with the least of both files, with all of both, and at random; the receiver starts on it, too."""
    parts = [read(traced.log, traced.place.folder, name) for name in ("inbox.db", "keys.db")]
    disks, random = [Disk(part) for part in parts], Random(1)
    acknowledged = parts[0].acknowledged
    assert 30 == len(acknowledged)
    for line in sorted({at + 1 for at in acknowledged.values()}):
        for disk in disks:
            disk.advance(line)
        states = [list(disk.states(random, 1)) for disk in disks]
        wanted = [event for event, at in acknowledged.items() if at < line]
        for number, (bodies, keys) in enumerate(zip(*states, strict=False)):
            folder = tmp_path / f"{line}-{number}"
            folder.mkdir()
            bodies.lay_down(folder)
            keys.lay_down(folder)
            assert {event: traced.bodies[event] for event in wanted} == opened(folder, wanted), (line, bodies.how)
