"""Who is compared: the inbox and what a user would pick instead, each as a folder of files and commands to start."""

from tests.benchmarks.contestants.bare import Bare
from tests.benchmarks.contestants.base import Contestant
from tests.benchmarks.contestants.debian_webhook import DebianWebhook
from tests.benchmarks.contestants.handwritten import Handwritten
from tests.benchmarks.contestants.inbox import Inbox
from tests.benchmarks.contestants.knockerlite import Knockerlite
from tests.benchmarks.contestants.node_red import NodeRed

__all__ = ["Bare", "Contestant", "Inbox", "everybody"]


def everybody() -> list[Contestant]:
    """Return all contestants, the ceiling first."""
    return [Bare(), Inbox(), Handwritten(), DebianWebhook(), Knockerlite(), Knockerlite(full=True), NodeRed()]
