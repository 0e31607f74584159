"""Debian packages for a machine that lacks them: install as root, or say exactly what to type."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

# Debian asks this program before it starts a service; 101 means "not allowed" (invoke-rc.d(8)).
POLICY_FILE = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\nexit 101\n"
# A cold mirror and 100 MB of Erlang; above this the network is broken rather than slow.
APT_TIMEOUT_SECONDS = 900


class AptFailed(Exception):
    """apt-get ended with an error; the text is the end of what it wrote."""


def can_install() -> bool:
    """Whether this process may install Debian packages: root, and apt-get is there."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def get_install_command(*, packages: Sequence[str]) -> str:
    """The command a person types to get `packages`; the shown form of what `install` does."""
    return "sudo apt-get update && sudo apt-get install -y --no-install-recommends " + " ".join(packages)


def install(*, packages: Sequence[str]) -> None:
    """Install `packages` without recommendations and without starting any service.

    Needs `can_install()`. Safe to repeat: apt leaves an installed package alone. Raises `AptFailed`.
    """
    sys.stderr.write(f"apt-get: installing {' '.join(packages)}\n")
    with services_kept_still():
        _run_apt(arguments=["update", "-q"])
        _run_apt(arguments=["install", "-q", "-y", "--no-install-recommends", *packages])


@contextlib.contextmanager
def services_kept_still(*, policy_file: Path = POLICY_FILE) -> Iterator[None]:
    """While open, a package that is being installed cannot start its service.

    A policy file of the machine's owner is respected: it is neither replaced nor removed.
    """
    try:
        handle = os.open(policy_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o755)
    except FileExistsError:
        yield
        return
    with os.fdopen(handle, "w") as stream:
        stream.write(POLICY_TEXT)
    try:
        yield
    finally:
        policy_file.unlink(missing_ok=True)


def _run_apt(*, arguments: Sequence[str]) -> None:
    """Run one apt-get command quietly; its words are shown only when it fails."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments]
    with tempfile.TemporaryFile() as output:
        try:
            finished = subprocess.run(  # noqa: S603 - fixed program, package names from our own lists
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=APT_TIMEOUT_SECONDS,
                check=False,
            )
            problem = f"ended with {finished.returncode}" if finished.returncode else ""
        except subprocess.TimeoutExpired:
            problem = f"took longer than {APT_TIMEOUT_SECONDS} s"
        if problem:
            output.seek(0)
            tail = output.read().decode(errors="replace")[-2000:]
            raise AptFailed(f"{' '.join(command)} {problem}:\n{tail}")
