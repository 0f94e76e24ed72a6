"""A receiver ends when it is told to, also when its worker process does not."""

import os
import signal

from tests.support.crowd import send, settle
from tests.support.place import Place, descendants


def test_a_receiver_that_does_not_react_is_killed(place: Place) -> None:
    """The process that answers is stuck: it is given time for its requests, and then the receiver ends all the same."""
    settle(place, server="store_timeout = 0.1")
    place.start("serve")
    assert 200 == send(place, "before").status
    stuck = descendants(place.pid)
    assert stuck
    for pid in stuck:
        os.kill(pid, signal.SIGSTOP)
    place.stop()
    assert [] == [pid for pid in stuck if os.path.exists(f"/proc/{pid}")]  # noqa: PTH110
    place.prove()
