"""The architecture as tests: who imports whom, who owns which library, how large things may be, what tools say."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import inbox
from inbox.verify.providers import PROVIDERS
from tests.conftest import PROJECT

OURS = sorted((PROJECT / "inbox").rglob("*.py"))
HANDLERS = sorted((PROJECT / "handlers").glob("*.py"))

OWNERS = {
    "flask": ["inbox/receive/", "inbox/ui/"],
    "werkzeug": ["inbox/receive/", "inbox/ui/"],
    "granian": ["inbox/process/receiver.py"],
    "huey": ["inbox/deliver/queue.py", "inbox/deliver/queue_storage.py", "inbox/process/worker.py"],
    "sqlite3": [
        "inbox/store/",
        "inbox/deliver/queue_storage.py",
        "inbox/deliver/queue_file.py",
        "inbox/tools/torture/evidence.py",
    ],
    "sqlite_utils": ["inbox/store/"],
    "jsonschema": ["inbox/verify/schemas/", "inbox/ui/api/contract.py"],
    "jsonschema_rs": ["inbox/verify/schemas/"],
    "referencing": ["inbox/verify/schemas/", "inbox/ui/api/contract.py"],
    "cryptography": ["inbox/verify/schemes/", "inbox/store/sealing/cipher.py", "inbox/ui/services/passwords.py"],
    "hmac": ["inbox/verify/schemes/"],
    "jinja2": ["inbox/tools/deploy/", "inbox/ui/"],
    "click": ["inbox/cli/"],
    "rich": ["inbox/cli/"],
    "dotenv": ["inbox/core/config/secret_refs.py"],
    "prometheus_client": ["inbox/operate/metrics.py"],
}
"""The files that may import a library; sqlite3 in the queue is for the type of huey's connection, in the torture to
check a store without its own code."""


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)


def name(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def script(command: str) -> str:
    """Return the path of a command of this Python's environment."""
    return str(Path(sys.executable).parent / command)


def test_import_contracts_hold() -> None:
    """Layers, the receiving path, providers apart from each other, no cycles: pyproject.toml has the contracts."""
    done = tool(script("lint-imports"), "--no-cache")
    assert 0 == done.returncode, done.stdout


@pytest.mark.parametrize("command", [("check",), ("format", "--check")])
def test_ruff_has_nothing_to_say(command: tuple[str, ...]) -> None:
    """Lint and format."""
    done = tool(script("ruff"), *command, ".")
    assert 0 == done.returncode, done.stdout


def test_mypy_has_nothing_to_say() -> None:
    """Strict types on the package, the handlers and app.py."""
    done = tool(script("mypy"))
    assert 0 == done.returncode, done.stdout


def test_each_library_has_one_owner() -> None:
    """A library is imported by the module that owns it and by no other."""
    strangers = [
        (name(path), module)
        for path in OURS
        for module in imports(path)
        for owners in [OWNERS.get(module.partition(".")[0])]
        if owners is not None and not name(path).startswith(tuple(owners))
    ]
    assert [] == strangers


def test_secrets_are_compared_in_one_place() -> None:
    """`hmac.compare_digest` is called by one function, and `reveal` only by what verifies or logs in."""
    comparing = [name(path) for path in OURS if "compare_digest" in path.read_text()]
    revealing = [name(path) for path in OURS if ".reveal()" in path.read_text()]
    assert ["inbox/verify/schemes/base.py"] == comparing
    assert [] == [
        path
        for path in revealing
        if not path.startswith(
            (
                "inbox/verify/schemes/",
                "inbox/verify/providers/",
                "inbox/operate/alarms/channels.py",
                "inbox/store/sealing/cipher.py",
            )
        )
    ]


GIVEN = {
    "expected",
    "given",
    "signature",
    "signatures",
    "secret",
    "secrets",
    "password",
    "user",
    "credentials",
    "plain",
}
MAKING = {"reveal", "digest", "_hmac", "_digest", "_signed"}


def test_no_secret_is_compared_byte_by_byte() -> None:
    """In verifiers and providers, nothing that was sent or is expected stands beside ==, != or `in`; its length may.

    `_is_clean` looks for secrets in what was redacted, after the request was believed.
    """
    folders = ("inbox/verify/schemes/", "inbox/verify/providers/")
    found = [
        f"{name(path)}:{node.lineno}"
        for path in OURS
        if name(path).startswith(folders)
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef) and function.name != "_is_clean"
        for node in ast.walk(function)
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Name | ast.Attribute | ast.Call | ast.Subscript)
        if not (isinstance(side, ast.Call) and isinstance(side.func, ast.Name) and side.func.id == "len")
        for part in ast.walk(side)
        if (isinstance(part, ast.Name) and part.id in GIVEN)
        or (isinstance(part, ast.Call) and getattr(part.func, "attr", getattr(part.func, "id", "")) in MAKING)
    ]
    assert [] == found


def test_only_the_wiring_asks_the_clock() -> None:
    """Time is a parameter: `time.time` and `now` stand where processes and commands are wired, and in the log."""
    allowed = ("inbox/runtime.py", "inbox/cli/", "inbox/store/sql/events.py", "inbox/core/log.py")
    asking = [
        name(path)
        for path in OURS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("time", "now", "utcnow", "today")
        and isinstance(node.value, ast.Name) and node.value.id in ("time", "datetime", "date")
        and not name(path).startswith(allowed)
    ]  # fmt: skip
    assert [] == asking


def test_a_newcomer_takes_in_the_rooms() -> None:
    """At most 14 entries at the top of `inbox/`."""
    tracked = tool("git", "ls-files", "inbox").stdout.splitlines()
    top = {path.split("/")[1] for path in tracked} - {"README.md", "py.typed", "__init__.py", "__main__.py"}
    assert len(top) <= 14


def test_no_class_name_exists_twice() -> None:
    """A word has one meaning: who looks for a class finds one."""
    homes: dict[str, list[str]] = {}
    for path in OURS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(name(path))
    assert {} == {cls: found for cls, found in homes.items() if len(found) > 1}


def test_files_are_small() -> None:
    """At most 400 lines each."""
    assert {} == {name(path): size for path in OURS if (size := len(path.read_text().splitlines())) > 400}


def test_functions_are_small() -> None:
    """At most 40 lines each, nine of ten at most 25."""
    sizes = {
        f"{name(path)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in [*OURS, *HANDLERS]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {} == {function: size for function, size in sizes.items() if size > 40}
    assert sorted(sizes.values())[int(len(sizes) * 0.9)] <= 25


def test_exported_names() -> None:
    """What handler authors import stays what it is."""
    assert ["Discard", "Event", "Retry", "handles"] == sorted(inbox.__all__)


def test_nothing_happens_at_import() -> None:
    """Importing every module opens no file in the working directory and starts no thread."""
    modules = [name(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__") for path in OURS]
    code = f"""
import importlib, os, tempfile, threading
os.chdir(tempfile.mkdtemp())
for module in {[module for module in modules if not module.endswith("__main__")]}:
    importlib.import_module(module)
print(os.listdir("."), threading.active_count())
"""
    assert "[] 1\n" == tool(sys.executable, "-c", code).stdout


def test_the_receiver_never_imports_handler_code() -> None:
    """Loading the WSGI application imports no module of the handlers folder."""
    loaded = "[m for m in sys.modules if m.startswith('inbox_handlers')]"
    code = f"import sys, inbox.process.receiver, inbox.receive.endpoint; print({loaded})"
    assert "[]\n" == tool(sys.executable, "-c", code).stdout


def test_the_top_level_is_what_was_agreed() -> None:
    """No folder or file beside those that the design names."""
    tracked = tool("git", "ls-files").stdout.splitlines()
    found = {path.partition("/")[0] for path in tracked if not path.startswith(".")}
    agreed = {
        "app.py",
        "pyproject.toml",
        "README.md",
        "inbox",
        "handlers",
        "schemas",
        "tests",
        "LICENSE",
        "CHANGELOG.md",
    }
    assert set() == found - agreed


def test_app_is_short() -> None:
    """app.py is two names and how to get them."""
    assert len((PROJECT / "app.py").read_text().splitlines()) <= 15


def test_every_provider_has_tests_that_inherit_the_checklist() -> None:
    """A new sender comes with the shared checks."""
    folder = PROJECT / "tests" / "verify" / "providers"
    checked = "".join(path.read_text() for path in folder.glob("test_*.py") if "Checklist)" in path.read_text())
    missing = [
        cls.name
        for cls in PROVIDERS.values()
        if cls.needs_secret and cls.__name__ not in checked and f'"{cls.name}"' not in checked
    ]
    assert [] == missing
