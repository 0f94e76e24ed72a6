"""Handler files and installed packages: what is found, what is not, and that one that breaks breaks nothing else."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.deliver.handler_loader import PACKAGE, Registry, load
from inbox.testing import Inbox

ONE = "from inbox import handles\n@handles('roomz')\ndef one(event): return 'one'\n"


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Forget the handler modules of this test."""
    yield
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]


def write(folder: Path, **files: str) -> Registry:
    """Write handler files and load the folder."""
    for name, code in files.items():
        (folder / f"{name}.py").write_text(code)
    return load(folder)


def last_line(registry: Registry, module: str) -> str:
    return registry.failures[module].strip().splitlines()[-1]


def test_every_file_of_the_folder_is_loaded(handlers: Path) -> None:
    """Its handlers are called by file and function."""
    registry = write(handlers, alpha=ONE, beta=ONE.replace("one", "two"))
    assert (["alpha.one", "beta.two"], {}) == (list(registry.handlers), dict(registry.failures))
    handler = registry.handlers["alpha.one"]
    assert ("one", "alpha", "roomz") == (handler.function(None), handler.spec.module, handler.spec.marks[0].source)


def test_an_empty_folder_has_no_handlers(handlers: Path) -> None:
    """That is no failure."""
    assert ({}, {}) == (dict(load(handlers).handlers), dict(load(handlers).failures))


def test_other_files_are_not_loaded(handlers: Path) -> None:
    """Names that begin with `_`, folders, and what is not Python."""
    (handlers / "README.md").write_text("# raise")
    (handlers / "sub").mkdir()
    (handlers / "sub" / "deep.py").write_text(ONE)
    registry = write(handlers, _shared="raise RuntimeError('imported')", __init__="raise RuntimeError('imported')")
    assert ({}, {}) == (dict(registry.handlers), dict(registry.failures))


def test_files_can_share_code(handlers: Path) -> None:
    """From `_` files and from each other; what is imported is not a second handler."""
    registry = write(
        handlers,
        _shared="VALUE = 'shared'",
        alpha="from inbox import handles\nfrom ._shared import VALUE\n@handles('a')\ndef one(event): return VALUE\n",
        beta="from inbox import handles\nfrom .alpha import one\n@handles('b')\ndef two(event): return one(event)\n",
    )
    assert ["alpha.one", "beta.two"] == list(registry.handlers)
    assert "shared" == registry.handlers["beta.two"].function(None)


def test_code_that_is_shared_is_loaded_anew(handlers: Path) -> None:
    """After a change a new worker, or a test, sees the new code, also in a file that was only imported."""
    user = "from inbox import handles\nfrom ._shared import VALUE\n@handles('a')\ndef one(event): return VALUE\n"
    write(handlers, _shared="VALUE = 1", alpha=user)
    assert 22 == write(handlers, _shared="VALUE = 22").handlers["alpha.one"].function(None)


def test_a_handler_file_can_define_dataclasses_and_use_future_annotations(handlers: Path) -> None:
    """They look their module up in sys.modules."""
    code = """
from __future__ import annotations
import pickle
from dataclasses import dataclass
from inbox import Event, handles

@dataclass
class Lead:
    name: str

@handles("roomz")
def one(event: Event) -> str:
    return pickle.loads(pickle.dumps(Lead("Ada"))).name
"""
    assert "Ada" == write(handlers, alpha=code).handlers["alpha.one"].function(None)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def broken(:", "SyntaxError"),
        ("raise RuntimeError('not today')", "RuntimeError: not today"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("from ._gone import x", "ModuleNotFoundError: No module named 'inbox_handlers._gone'"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("from inbox import handles\n@handles('a', attempts=0)\ndef f(event): pass", "ValueError: @handles"),
        ("x = '\x00'", "null bytes"),
        ("def deep(): deep()\ndeep()", "RecursionError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise BaseException('base')", "BaseException: base"),
        ("import asyncio; raise asyncio.CancelledError", "asyncio.exceptions.CancelledError"),
        ("class E(Exception):\n    def __str__(self): raise SystemExit\nraise E", "<exception str() failed>"),
        ("class E(Exception):\n    __notes__ = property(lambda self: 1 / 0)\nraise E", "text cannot be made"),
        ("import sys; del sys.modules[__name__]; 1 / 0", "ZeroDivisionError"),
        (
            "from inbox import handles\n@handles('a', None)\ndef f(event): pass",
            "TypeError: @handles: type must be text",
        ),
        ("from inbox import handles\n@handles(1)\ndef f(event): pass", "TypeError: @handles: source must be text"),
        ("from inbox import handles\n@handles\ndef f(event): pass", "TypeError: @handles stands without its paren"),
    ],
)
def test_a_file_that_does_not_import_is_a_failure_and_the_others_load(
    code: str, told: str, handlers: Path, logs: list[Any]
) -> None:
    """The traceback is kept, the log names the file, and nothing half loaded stays behind."""
    registry = write(handlers, bad=code, good=ONE)
    assert (["good.one"], ["bad"]) == (list(registry.handlers), list(registry.failures))
    assert told in last_line(registry, "bad")
    assert f"{PACKAGE}.bad" not in sys.modules
    (entry,) = [entry for entry in logs if entry["event"] == "handlers.failed"]
    assert ("bad", "error") == (entry["module"], entry["log_level"])
    assert ["good.one", "bad"] == [spec.name for spec in registry.specs()]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("globals()[1] = 2", "TypeError: '<' not supported"),
        ("def f(event): pass\nf.__inbox_handles__ = [('a', 'b')]", "bad.f has marks that @handles did not make"),
        ("def f(event): pass\nf.__inbox_handles__ = ('a',)", "bad.f has marks that @handles did not make"),
        ("from inbox import handles\n@handles('a')\ndef f(event): yield", "bad.f has a `yield`: called as a handler"),
        ("from inbox import handles\n@handles('a')\nasync def f(event): yield", "bad.f has a `yield`"),
    ],
)
def test_a_file_whose_handlers_could_never_run_is_a_failure(code: str, told: str, handlers: Path) -> None:
    """What cannot be matched with an event, or would not run when it is called; the others load."""
    registry = write(handlers, bad=code, good=ONE)
    assert (["good.one"], ["bad"]) == (list(registry.handlers), list(registry.failures))
    assert told in last_line(registry, "bad")


def test_bytes_that_are_not_utf_8_are_a_failure(handlers: Path) -> None:
    """As is a file that may not be read."""
    (handlers / "bad.py").write_bytes(b"x = '\xff'")
    (handlers / "gone.py").symlink_to(handlers / "nowhere")
    registry = write(handlers, good=ONE)
    assert (["good.one"], ["bad", "gone"]) == (list(registry.handlers), list(registry.failures))


def test_name_of_a_file_that_is_no_text_is_written_with_escapes(inbox: Inbox, handlers: Path) -> None:
    """The store takes no other, and what one file is called must not stop the rest."""
    for name, code in ((b"b\xff.py", ONE.replace("one", "odd")), (b"c\xfe.py", b"1 / 0".decode()), (b"good.py", ONE)):
        Path(os.fsdecode(os.fsencode(handlers) + b"/" + name)).write_text(code)
    inbox.receive("roomz")
    inbox.run()
    found = {delivery["handler"]: delivery["status"] for delivery in inbox.event(1)["deliveries"]}
    assert {"b\\xff.odd": "succeeded", "good.one": "succeeded"} == found
    assert ["c\\xfe"] == list(inbox.runtime.registry.failures)


def test_list_of_sources_is_matched_and_shown(inbox: Inbox, handlers: Path) -> None:
    """The natural wish: one handler for several sources."""
    (handlers / "own.py").write_text(
        "from inbox import handles\n@handles(['roomz', 'lemlist'])\ndef one(event): return 1"
    )
    inbox.receive("roomz")
    inbox.receive("lemlist")
    inbox.receive("rootfi")
    inbox.run()
    assert ["succeeded", "succeeded", "unhandled"] == [inbox.event(number)["status"] for number in (1, 2, 3)]
    (spec,) = inbox.runtime.archive.handlers()
    assert ["roomz", "lemlist"] == [mark.source for mark in spec.marks]


def test_frames_of_the_import_are_left_out(handlers: Path) -> None:
    """The traceback begins with the handler's file."""
    lines = write(handlers, bad="def f(): 1 / 0\nf()").failures["bad"].splitlines()
    assert ["Traceback (most recent call last):", f'  File "{handlers / "bad.py"}", line 2, in <module>'] == lines[:2]


def test_only_what_a_file_defines_is_taken(handlers: Path) -> None:
    """Not functions imported from elsewhere, not objects that merely answer to everything."""
    code = """
from unittest.mock import MagicMock
from inbox import Discard, Event, Retry, handles
from inbox.testing import sample
everything = MagicMock()
def untagged(event): pass
@handles("roomz")
class NotAFunction:
    def __init__(self, event): self.event = event
"""
    assert ["alpha.NotAFunction"] == list(write(handlers, alpha=code).handlers)


def test_marks_apply_in_the_order_in_which_they_are_written(handlers: Path) -> None:
    """The settings of the first one that matches; of the first one if none does (a replay for this handler)."""
    code = """
from inbox import handles
@handles("roomz", "a.*", attempts=1)
@handles("roomz", "*", attempts=2)
@handles("lemlist", attempts=3)
def one(event): pass
"""
    handler = write(handlers, alpha=code).handlers["alpha.one"]
    found = [handler.mark(*what).attempts for what in (("roomz", "a.b"), ("roomz", "b"), ("lemlist", "b"), ("x", "y"))]
    assert [1, 2, 3, 1] == found
    assert handler.spec.match("lemlist", "b")
    assert not handler.spec.match("x", "y")


def test_handlers_may_be_async(handlers: Path, tmp_path: Path) -> None:
    """They are awaited."""
    code = """
import asyncio
from inbox import handles
@handles("roomz")
async def one(event):
    await asyncio.sleep(0)
    return {"awaited": event.source}
"""
    (handlers / "alpha.py").write_text(code)
    with Inbox(tmp_path, handlers=handlers) as inbox:
        number = inbox.receive("roomz").id
        inbox.run()
        assert {"awaited": "roomz"} == json.loads(inbox.event(number)["deliveries"][0]["value"])


def install(site: Path, name: str, code: str, entry_points: str) -> None:
    """Lay down what pip lays down: a module and its dist-info."""
    site.mkdir(exist_ok=True)
    (site / f"{name}.py").write_text(code)
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[inbox.handlers]\n{entry_points}\n")


def installed(folder: Path, site: Path) -> Any:
    """Load the folder in a process that has `site` on its path, and return [handlers, failures]."""
    code = """
import json, sys
from pathlib import Path
from inbox.deliver.handler_loader import load
found = load(Path(sys.argv[1]))
failures = {name: text.strip().splitlines()[-1] for name, text in found.failures.items()}
print(json.dumps([list(found.handlers), failures]))
"""
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, folder], env=environment, capture_output=True, text=True, timeout=60
    )
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_installed_packages_are_found_by_their_entry_point(handlers: Path, tmp_path: Path) -> None:
    """Called by the entry point's name; beside the files of the folder."""
    (handlers / "own.py").write_text(ONE)
    install(tmp_path / "site", "acme_hooks", ONE, "acme = acme_hooks")
    assert [["own.one", "acme.one"], {}] == installed(handlers, tmp_path / "site")


def test_installed_packages_that_break_are_failures(handlers: Path, tmp_path: Path) -> None:
    """One that does not import, one that is not there, one that names a function: the others work."""
    site = tmp_path / "site"
    (handlers / "own.py").write_text(ONE)
    install(site, "acme_hooks", "1/0", "acme = acme_hooks")
    install(site, "other_hooks", ONE, "function = other_hooks:one\nmissing = no_such_package\nother = other_hooks")
    found, failures = installed(handlers, site)
    assert (["own.one", "other.one"], ["acme", "function", "missing"]) == (found, sorted(failures))
    assert "ZeroDivisionError" in failures["acme"]
    assert "it must name a module" in failures["function"]


def test_the_same_handler_name_twice_is_a_failure_of_the_second(handlers: Path, tmp_path: Path) -> None:
    """A name is the identity of deliveries: two functions must not share one."""
    (handlers / "acme.py").write_text(ONE)
    install(tmp_path / "site", "acme_hooks", ONE, "acme = acme_hooks")
    found, failures = installed(handlers, tmp_path / "site")
    assert ["acme.one"] == found
    assert "handler names must be unique; acme.one stands in another module already" in failures["acme"]


def test_packages_whose_description_is_broken_are_one_failure(handlers: Path, tmp_path: Path) -> None:
    """The files of the folder load."""
    (handlers / "own.py").write_text(ONE)
    install(tmp_path / "site", "acme_hooks", ONE, "acme acme_hooks")
    found, failures = installed(handlers, tmp_path / "site")
    assert (["own.one"], ["inbox.handlers"]) == (found, list(failures))
