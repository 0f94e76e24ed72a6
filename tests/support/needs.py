"""What a few tests need of the machine, beyond Python: left out with a reason where it is missing, but never in CI."""

import os
import shutil
import subprocess

import pytest


def need(there: object, missing: str) -> None:
    """Skip the test with this reason if something is not there; in CI (environment variable CI) fail it."""
    if not there:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)


def strace() -> str:
    """Return the path of a strace that may trace here."""
    found = shutil.which("strace")
    need(found, "strace is not installed (Debian, Ubuntu, Fedora: package strace)")
    probe = subprocess.run([str(found), "-D", "-o", "/dev/null", "true"], capture_output=True, text=True)
    need(probe.returncode == 0, f"strace may not trace here: {probe.stderr}")
    return str(found)


def program(name: str, package: str) -> str:
    """Return the path of a program, also of one that only root has in its PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    need(found, f"{name} is not installed (Debian, Ubuntu: package {package})")
    return str(found)
