"""Coverage-guided fuzzing with atheris: `python -m tests.hostile.fuzz TARGET [-max_total_time=60] [CORPUS …]`.

The arguments after the target are libFuzzer's. New inputs are kept in the first folder that is named.
"""

import sys
import tempfile
from pathlib import Path

import atheris
import structlog

with atheris.instrument_imports(include=["inbox"]):
    from tests.hostile.targets import TARGETS, seeds


def main(target: str, *arguments: str) -> None:
    """Run a target until it fails or libFuzzer's limits are reached."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{target}-"))
    for number, seed in enumerate(seeds(target)):
        (folder / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *arguments, str(folder)], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
