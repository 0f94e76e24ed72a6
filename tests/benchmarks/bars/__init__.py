"""The bars of the benchmark, each a function that measures and adds to the plan's report."""

from collections.abc import Callable, Mapping

from tests.benchmarks.bars.answers import answers
from tests.benchmarks.plan import Plan

BARS: Mapping[str, Callable[[Plan], None]] = {"answers": answers}
