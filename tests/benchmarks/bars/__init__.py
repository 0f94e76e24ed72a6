"""The bars of the benchmark, each a function that measures and adds to the plan's report."""

from collections.abc import Callable, Mapping

from tests.benchmarks.bars.answers import answers
from tests.benchmarks.bars.backlog import backlog
from tests.benchmarks.bars.drain import drain
from tests.benchmarks.bars.fsyncs import fsyncs
from tests.benchmarks.bars.growth import growth
from tests.benchmarks.bars.latency import latency
from tests.benchmarks.bars.memory import memory
from tests.benchmarks.bars.pages import pages
from tests.benchmarks.bars.replays import replays
from tests.benchmarks.plan import Plan

BARS: Mapping[str, Callable[[Plan], None]] = {
    "answers": answers,
    "fsyncs": fsyncs,
    "backlog": backlog,
    "latency": latency,
    "drain": drain,
    "growth": growth,
    "memory": memory,
    "pages": pages,
    "replay": replays,
}
