"""The virtual environment of the project, from a lock with hashes.

    python3 -m bootstrap.venv embedded   what `make run` needs: no MariaDB client, thus no compiler
    python3 -m bootstrap.venv test       everything and the tools; headers by apt-get when root

Standard library only. Safe to repeat: an unchanged lock installs nothing, and one variant leaves the other's
packages alone. A half-done installation is done again, because the stamp is written last. Two at the same
time wait for each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bootstrap import apt

REPOSITORY = Path(__file__).resolve().parent.parent
VENV = REPOSITORY / ".venv"
LOCAL = REPOSITORY / ".local"
MINIMUM_PYTHON = (3, 11)
EXIT_CANNOT = 2
# Compiled against MariaDB's client library, which a bare machine lacks; the embedded default uses SQLite.
COMPILED_REQUIREMENTS = ("mysqlclient",)
# Debian's packages for building mysqlclient: compiler, MariaDB's headers, and what finds the library.
BUILD_PACKAGES = ("gcc", "libc6-dev", "pkg-config", "libmariadb-dev")


class CannotSetUp(Exception):
    """The machine lacks something that we may not install; the text says what to type."""


def filter_lock(*, text: str, without: Sequence[str]) -> str:
    """The lock without the blocks of the named packages (`_` and `-` alike, any case).

    A block is the line `name==version …` with the indented lines after it. Raises `ValueError` if a name is
    not in the lock: then the filter is out of date.
    """
    unwanted = {_normalise(name) for name in without}
    seen: set[str] = set()
    kept: list[str] = []
    is_dropping = False
    for line in text.splitlines(keepends=True):
        starts_block = re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:==|@)", line)
        if starts_block:
            name = _normalise(starts_block.group(1))
            is_dropping = name in unwanted
            if is_dropping:
                seen.add(name)
        elif not line.startswith((" ", "\t")):
            is_dropping = False
        if not is_dropping:
            kept.append(line)
    if seen != unwanted:
        raise ValueError(f"not in the lock: {', '.join(sorted(unwanted - seen))}")
    return "".join(kept)


def _normalise(name: str) -> str:
    """The form in which two spellings of a package's name are equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def get_stamp(*, lock: Path, python: str) -> str:
    """What decides whether an installation is up to date: the lock's text and the interpreter."""
    return hashlib.sha256(lock.read_bytes() + python.encode()).hexdigest()


def is_installed(*, variant: str, stamp: str, venv: Path = VENV) -> bool:
    """Whether this very lock was installed into the environment to its end."""
    stamp_file = venv / f".stamp-{variant}"
    return stamp_file.is_file() and stamp_file.read_text().strip() == stamp


def write_embedded_lock(*, source: Path, target: Path) -> Path:
    """Write the lock without compiled packages to `target` and return it."""
    target.parent.mkdir(exist_ok=True)
    target.write_text(filter_lock(text=source.read_text(), without=COMPILED_REQUIREMENTS))
    return target


def choose_python() -> str:
    """A Python ≥ 3.11: the running one, else one of that name on the PATH. Raises `CannotSetUp`."""
    if sys.version_info >= MINIMUM_PYTHON:
        return sys.executable
    for name in ("python3.13", "python3.12", "python3.11"):
        found = shutil.which(name)
        if found:
            return found
    raise CannotSetUp(f"Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}.")


def ensure_venv() -> Path:
    """Create .venv if it is not there or broken; returns its Python. Raises `CannotSetUp`."""
    python = VENV / "bin" / "python"
    if python.exists() and _is_success([str(python), "-c", "import pip"]):
        return python
    base = choose_python()
    _say(f"creating .venv with {base}")
    command = [base, "-m", "venv", "--clear", str(VENV)]
    if not _is_success(command):
        version = subprocess.run(  # noqa: S603 - the interpreter chosen above
            [base, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        packages = [f"python{version}-venv"]
        _install_or_explain(packages=packages, reason="Python's venv module is incomplete here")
        if not _is_success(command):
            raise CannotSetUp(f"`{' '.join(command)}` fails; run it by hand to see why.")
    return python


def ensure_build_tools(*, python: Path) -> None:
    """Headers, compiler and pkg-config for mysqlclient; installs what is missing. Raises `CannotSetUp`."""
    has_headers = _is_success(
        [
            str(python),
            "-c",
            "import os, sys, sysconfig;"
            "sys.exit(not os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')))",
        ]
    )
    has_library = any(
        _is_success(["pkg-config", "--exists", name]) for name in ("libmariadb", "mysqlclient", "mariadb")
    )
    if has_headers and has_library and shutil.which("gcc"):
        return
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = [*BUILD_PACKAGES] if has_headers else [f"python{version}-dev", *BUILD_PACKAGES]
    _install_or_explain(packages=packages, reason="The MariaDB driver has to be compiled")


def install_lock(*, variant: str, lock: Path, python: Path) -> None:
    """Install the lock unless its stamp says that it is there. Raises `CannotSetUp` when pip fails."""
    stamp = get_stamp(lock=lock, python=str(python.resolve()))
    if is_installed(variant=variant, stamp=stamp):
        return
    if variant == "test":
        ensure_build_tools(python=python)
    began = time.monotonic()
    # Each environment variable of pip still counts: a mirror or a proxy of the machine is honoured.
    command = [
        *(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"),
        *("--no-deps", "--require-hashes", "-r", str(lock)),
    ]
    log = LOCAL / f"pip-{variant}.log"
    with log.open("wb") as output:
        pip = subprocess.Popen(  # noqa: S603 - pip of our own environment
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            code = _wait_with_progress(process=pip, text=f"installing {lock.name}", began=began)
        except BaseException:
            pip.terminate()
            pip.wait()
            raise
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise CannotSetUp(f"pip ended with {code}:\n{tail}")
    (VENV / f".stamp-{variant}").write_text(stamp + "\n")
    _say(f"installed {lock.name} in {time.monotonic() - began:.0f} s")


def _wait_with_progress(*, process: subprocess.Popen[bytes], text: str, began: float) -> int:
    """Wait for pip; a line at the start, then one that counts on a terminal or each 30 s in a log."""
    is_terminal = sys.stderr.isatty()
    _say(f"{text} …")
    step_seconds = 1 if is_terminal else 30
    while True:
        try:
            code = process.wait(timeout=step_seconds)
        except subprocess.TimeoutExpired:
            elapsed = f"bootstrap: {text} … {time.monotonic() - began:.0f} s"
            sys.stderr.write(f"\r{elapsed}" if is_terminal else f"{elapsed}\n")
            sys.stderr.flush()
        else:
            if is_terminal:
                sys.stderr.write("\n")
            return code


def _install_or_explain(*, packages: Sequence[str], reason: str) -> None:
    """Install Debian packages as root; otherwise raise `CannotSetUp` with the command to type."""
    if apt.can_install():
        try:
            apt.install(packages=packages)
        except apt.AptFailed as error:
            raise CannotSetUp(f"{reason}, and apt-get failed: {error}") from error
        return
    raise CannotSetUp(f"{reason}. Install:\n    {apt.get_install_command(packages=packages)}")


def _is_success(command: Sequence[str]) -> bool:
    try:
        finished = subprocess.run(  # noqa: S603 - our own fixed commands
            command, capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError:
        return False
    return finished.returncode == 0


def _say(text: str) -> None:
    sys.stderr.write(f"bootstrap: {text}\n")
    sys.stderr.flush()


def set_up(*, variant: str) -> None:
    """Make the environment and install the variant's lock. Raises `CannotSetUp`."""
    python = ensure_venv()
    lock = REPOSITORY / "requirements-dev.txt"
    if variant == "embedded":
        lock = write_embedded_lock(source=REPOSITORY / "requirements.txt", target=LOCAL / "requirements-embedded.txt")
    install_lock(variant=variant, lock=lock, python=python)


def main(arguments: Sequence[str]) -> int:
    """Set up the variant named by the only argument; the exit code."""
    if len(arguments) != 1 or arguments[0] not in ("embedded", "test"):
        _say("usage: python3 -m bootstrap.venv embedded|test")
        return EXIT_CANNOT
    os.chdir(REPOSITORY)
    LOCAL.mkdir(exist_ok=True)
    try:
        with (LOCAL / "bootstrap.lock").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            set_up(variant=arguments[0])
    except CannotSetUp as error:
        _say(str(error))
        return EXIT_CANNOT
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
