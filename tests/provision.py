"""Two private MariaDB servers, Redis and RabbitMQ for one test run, on free loopback ports, gone afterwards.

    python -m tests.provision run -- CMD…            start, run CMD with the environment, stop; its exit code
    python -m tests.provision serve --env-file FILE  start, write `export K=V` lines, serve until SIGTERM

Standard library only: it runs before the virtual environment exists. Programs that the machine lacks are
installed by apt-get when root, else replaced by `bootstrap/compose.test.yaml` when a container engine runs,
else named (exit 2).

Everything a run owns lies in one fresh directory, whose path each started process carries in its environment
(`PAYSYS_PROVISION_ROOT`). By that mark they are found again and killed, the restarted ones and the ones that
CMD left behind too. A small guard process does it even when this process is killed with SIGKILL.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import platform
import random
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from bootstrap import apt

EXIT_MISSING_PROGRAMS = 2
EXIT_START_FAILED = 3
ROOT_MARK = "PAYSYS_PROVISION_ROOT"
REPOSITORY = Path(__file__).resolve().parent.parent
COMPOSE_FILE = REPOSITORY / "bootstrap" / "compose.test.yaml"
MARIADB_SERVERS = ("mariadb", "mariadb-2")
"""The second one holds every other order database; smaller, for it has less to hold."""
BUFFER_POOLS = {"mariadb": "256M", "mariadb-2": "96M"}
DATABASES = {
    "DATABASE_URL": ("mariadb", "paysys_default"),
    "FUNDS_DATABASE_URL": ("mariadb", "paysys_funds"),
    "REDPACKET_DATABASE_URL": ("mariadb", "paysys_redpacket"),
    "ORDERS_0_DATABASE_URL": ("mariadb", "paysys_orders_0"),
    "ORDERS_1_DATABASE_URL": ("mariadb-2", "paysys_orders_1"),
}
MORE_ORDER_DATABASES = {
    "ORDERS_2_DATABASE_URL": ("mariadb", "paysys_orders_2"),
    "ORDERS_3_DATABASE_URL": ("mariadb-2", "paysys_orders_3"),
}
"""Not in the environment of CMD but, as JSON, in PAYSYS_TEST_MORE_ORDERS: tests/suite.py runs again with them."""
# In MariaDB and MySQL alike; the older utf8mb4_unicode_ci takes all emoji for equal.
COLLATION = "utf8mb4_unicode_520_ci"
SQL_MODE = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION"
# Below the kernel's range for outgoing connections (32768 up): no passing connection can sit on the port of a
# service that a fault test has killed and wants back.
PORT_RANGE = range(20000, 30000)
SHM = Path("/dev/shm")
SHM_NEEDED_BYTES = 2048 * 1024 * 1024
# MariaDB 4 s, RabbitMQ 5 s on a quiet machine; ten times that and more for a loaded one.
START_TIMEOUT_SECONDS = 120
# Images may have to be pulled first.
COMPOSE_TIMEOUT_SECONDS = 900
# What CMD gets after the first signal before it is killed.
GRACE_SECONDS = 30
SOCKET_PATH_LIMIT = 80


class MissingPrograms(Exception):
    """The machine has neither the servers nor a way for us to get them; the text says what to type."""


class StartFailed(Exception):
    """A service ended or did not answer in time; the text ends with its log."""


class Stopped(Exception):
    """A signal asked us to stop while we were starting; `args[0]` is its number."""


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """Programs of one service, or the browser, and the Debian package that has them; `beside` comes with it."""

    package: str
    programs: tuple[str, ...]
    beside: tuple[str, ...] = ()

    @property
    def packages(self) -> tuple[str, ...]:
        """What apt-get is to install."""
        return (self.package, *self.beside)


REQUIREMENTS = (
    Requirement(
        package="mariadb-server",
        programs=("mariadbd", "mariadb-install-db", "mariadb-tzinfo-to-sql", "mariadb"),
    ),
    Requirement(package="redis-server", programs=("redis-server",)),
    Requirement(package="rabbitmq-server", programs=("rabbitmq-server", "erl")),
    Requirement(package="chromium", programs=("chromium",), beside=("fonts-wqy-zenhei",)),
    Requirement(package="nginx", programs=("nginx",)),
)
# /usr/lib/rabbitmq/bin first: Debian's /usr/sbin/rabbitmq-server is a wrapper that changes to another user.
SEARCH_PATH = (
    "/usr/lib/rabbitmq/bin",
    *os.environ.get("PATH", os.defpath).split(os.pathsep),
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/opt/rabbitmq/sbin",
)


@dataclass(frozen=True, kw_only=True)
class Service:
    """One running server and how a fault test kills it and starts it again."""

    name: str
    port: int
    start_command: tuple[str, ...]
    kill_command: tuple[str, ...]
    pid: int | None = None  # None in a container
    places: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> dict[str, object]:
        """The entry of this service in `PAYSYS_TEST_SERVICES`."""
        return {
            "pid": self.pid,
            "port": self.port,
            **self.places,
            "start_command": list(self.start_command),
            "kill_command": list(self.kill_command),
        }


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where one run lives: `root` (logs, sockets, settings) and `data` (the servers' files)."""

    root: Path
    data: Path
    password: str
    ports: Mapping[str, int]
    compose_project: str | None = None


# --- finding the programs ---------------------------------------------------------------------------------


def find_program(*, name: str, search_path: Sequence[str] = SEARCH_PATH) -> str | None:
    """Full path of an installed program, also from directories that a user's PATH leaves out."""
    return shutil.which(name, path=os.pathsep.join(search_path))


def list_missing(*, requirements: Sequence[Requirement], find: Callable[[str], str | None]) -> list[Requirement]:
    """The requirements of which at least one program is absent, narrowed to the absent programs."""
    missing = []
    for requirement in requirements:
        absent = tuple(program for program in requirement.programs if find(program) is None)
        if absent:
            missing.append(replace(requirement, programs=absent))
    return missing


def describe_missing(*, missing: Sequence[Requirement], system: str) -> str:
    """What a person reads when we cannot help ourselves: the programs and the exact commands."""
    programs = ", ".join(program for requirement in missing for program in requirement.programs)
    if system == "Darwin":
        formulas = [requirement.package.removesuffix("-server") for requirement in missing]
        install = "brew install " + " ".join(formulas)
    else:
        install = apt.get_install_command(packages=[name for requirement in missing for name in requirement.packages])
    return (
        f"The tests need programs that this machine lacks: {programs}.\n"
        f"Install them:\n    {install}\n"
        "or run `make test` as root (it installs them), or start Docker (it then uses containers)."
    )


def find_compose() -> tuple[str, ...] | None:
    """The compose command of a container engine that answers, or None."""
    engine = shutil.which("docker")
    if engine is None or not _is_success([engine, "info"]):
        return None
    if _is_success([engine, "compose", "version"]):
        return (engine, "compose")
    standalone = shutil.which("docker-compose")
    return (standalone,) if standalone else None


def _is_success(command: Sequence[str]) -> bool:
    try:
        finished = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return finished.returncode == 0


def choose_source() -> tuple[str, ...] | None:
    """None for installed programs (after installing them if need be), else the compose command to use.

    Raises `MissingPrograms`.
    """

    def find(name: str) -> str | None:
        return find_program(name=name)

    missing = list_missing(requirements=REQUIREMENTS, find=find)
    if not missing:
        return None
    reason = ""
    if apt.can_install():
        try:
            apt.install(packages=[name for requirement in missing for name in requirement.packages])
        except apt.AptFailed as error:
            reason = f"\nThe installation failed: {error}"
        missing = list_missing(requirements=REQUIREMENTS, find=find)
        if not missing:
            return None
    compose = find_compose()
    if compose is None:
        raise MissingPrograms(describe_missing(missing=missing, system=platform.system()) + reason)
    return compose


# --- the ground: directory, ports, mark, guard ------------------------------------------------------------


def choose_ports(*, names: Sequence[str]) -> dict[str, int]:
    """A free loopback port for each name, all different."""
    ports: dict[str, int] = {}
    with contextlib.ExitStack() as held:
        for name in names:
            while name not in ports:
                candidate = held.enter_context(socket.socket())
                with contextlib.suppress(OSError):
                    candidate.bind(("127.0.0.1", random.choice(PORT_RANGE)))
                    ports[name] = candidate.getsockname()[1]
    return ports


def make_layout(*, compose: bool) -> Layout:
    """Create the directories of one run; the caller removes them with `end_everything`."""
    base = tempfile.gettempdir()
    root = Path(tempfile.mkdtemp(prefix="paysys-test-", dir="/tmp" if len(base) > SOCKET_PATH_LIMIT else base))
    data = root / "data"
    if not compose and SHM.is_dir() and shutil.disk_usage(SHM).free >= SHM_NEEDED_BYTES:
        data = SHM / root.name
    data.mkdir(mode=0o700)
    (root / "log").mkdir()
    return Layout(
        root=root,
        data=data,
        password=secrets.token_hex(12),
        ports=choose_ports(names=(*MARIADB_SERVERS, "redis", "rabbitmq", "rabbitmq-distribution", "epmd")),
        compose_project=root.name.lower().replace("_", "-") if compose else None,
    )


def list_own_processes(*, root: Path, data: Path) -> list[int]:
    """Processes of this run, without ourselves: those with the mark, and those of the pid files.

    Redis writes its title over its environment and so loses the mark; its pid file counts when the process
    works in our directory. Linux only; elsewhere the servers run in containers.
    """
    needle = f"{ROOT_MARK}={root}".encode()
    found = set()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        # A process of another user, or one that just ended: not ours.
        with contextlib.suppress(OSError):
            if needle in entry.read_bytes().split(b"\0"):
                found.add(int(entry.parent.name))
    for pid_file in root.glob("*.pid"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(pid_file.read_text())
            if Path(f"/proc/{pid}/cwd").readlink().is_relative_to(data):
                found.add(pid)
    return sorted(found - {os.getpid()})


def end_everything(*, root: Path, data: Path, compose: Sequence[str]) -> None:
    """Kill what carries the mark and remove the directories. Safe to repeat.

    SIGKILL, because nothing of it is wanted any more. Several rounds, because a killed server may leave a
    child that was just being born.
    """
    if compose:
        subprocess.run([*compose, "down", "--volumes", "--timeout", "0"], capture_output=True, stdin=subprocess.DEVNULL)
    for _ in range(50):
        pids = list_own_processes(root=root, data=data)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            break
        time.sleep(0.05)
    shutil.rmtree(data, ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)


def guard(*, root: Path, data: Path, compose: Sequence[str]) -> int:
    """Body of the guard process: wait until standard input closes (the parent is gone), then clean up."""
    sys.stdin.buffer.read()
    end_everything(root=root, data=data, compose=compose)
    return 0


@contextlib.contextmanager
def guarded(*, layout: Layout, compose: Sequence[str]) -> Iterator[None]:
    """After it the run's processes and directories are gone, even if we are killed inside."""
    command = [sys.executable, "-m", "tests.provision", "guard", str(layout.root), str(layout.data), *compose]
    # Its own session: Ctrl-C at the terminal must not end the guard.
    watcher = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        end_everything(root=layout.root, data=layout.data, compose=compose)
        assert watcher.stdin is not None
        watcher.stdin.close()
        watcher.wait()


# --- the servers ------------------------------------------------------------------------------------------


def start_process(*, layout: Layout, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a marked process in a session of its own, its words in `log/NAME.log`."""
    with (layout.root / "log" / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=layout.root,
            env={**os.environ, ROOT_MARK: str(layout.root)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def get_log_tail(*, layout: Layout, name: str) -> str:
    """The last lines of a service's log, for the message of a failure."""
    try:
        lines = (layout.root / "log" / f"{name}.log").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(lines[-25:])


def wait_until(*, layout: Layout, name: str, process: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> None:
    """Return when `is_ready`; raises `StartFailed` when the process ends first or the time is over."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not is_ready():
        if process.poll() is not None:
            raise StartFailed(f"{name} ended with {process.returncode}:\n{get_log_tail(layout=layout, name=name)}")
        if time.monotonic() > deadline:
            log = get_log_tail(layout=layout, name=name)
            raise StartFailed(f"{name} did not answer in {START_TIMEOUT_SECONDS} s:\n{log}")
        time.sleep(0.1)


def exchange(*, port: int, send: bytes, expect: Callable[[bytes], bool]) -> bool:
    """Whether the server on the port answers `send` with bytes that `expect` accepts."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.settimeout(2)
            connection.sendall(send)
            return expect(connection.recv(64))
    except OSError:
        return False


def is_mariadb_ready(*, port: int) -> bool:
    """MariaDB speaks first: 3 bytes of length, packet number 0, protocol version 10."""
    return exchange(port=port, send=b"", expect=lambda answer: answer[3:5] == b"\x00\x0a")


def is_redis_ready(*, port: int) -> bool:
    """Redis answers PING only when it has loaded its files; before that it says LOADING."""
    return exchange(port=port, send=b"PING\r\n", expect=lambda answer: answer == b"+PONG\r\n")


def is_rabbitmq_ready(*, port: int) -> bool:
    """AMQP 0-9-1: the protocol header is answered by a method frame, Connection.Start (10, 10)."""
    return exchange(
        port=port,
        send=b"AMQP\x00\x00\x09\x01",
        expect=lambda answer: answer[:3] == b"\x01\x00\x00" and answer[7:11] == b"\x00\x0a\x00\x0a",
    )


def get_init_sql(*, password: str, server: str) -> str:
    """Databases and the user of one server; MariaDB reads it at every start, hence the IF NOT EXISTS."""
    lines = [
        f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4 COLLATE {COLLATION};"
        for place, name in {**DATABASES, **MORE_ORDER_DATABASES}.values()
        if place == server
    ]
    lines.append(f"CREATE USER IF NOT EXISTS 'paysys'@'%' IDENTIFIED BY '{password}';")
    lines.append("GRANT ALL PRIVILEGES ON *.* TO 'paysys'@'%' WITH GRANT OPTION;")
    return "\n".join(lines) + "\n"


def get_mariadb_options(*, server: str) -> list[str]:
    """What production must have as well: durable commits, rollback on time-out, strict mode, UTC."""
    return [
        "--skip-name-resolve",
        "--innodb-flush-log-at-trx-commit=1",
        "--innodb-rollback-on-timeout=ON",
        "--character-set-server=utf8mb4",
        f"--collation-server={COLLATION}",
        f"--sql-mode={SQL_MODE}",
        "--default-time-zone=+00:00",
        "--max-connections=400",
        f"--innodb-buffer-pool-size={BUFFER_POOLS[server]}",
        "--performance-schema=OFF",
    ]


def _marked(*, layout: Layout, command: Sequence[str], variables: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """A command that carries the mark wherever it is started, so that a restarted server is ended too."""
    settings = {ROOT_MARK: str(layout.root), **(variables or {})}
    return ("/usr/bin/env", *(f"{name}={value}" for name, value in settings.items()), *command)


def _require(name: str) -> str:
    program = find_program(name=name)
    if program is None:
        raise StartFailed(f"{name} has gone")
    return program


def _kill_by_pid_file(pid_file: Path) -> tuple[str, ...]:
    return ("/bin/sh", "-c", f'kill -KILL "$(cat {shlex.quote(str(pid_file))})"')


def _as_user() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []


def start_mariadb_install(*, layout: Layout, server: str) -> subprocess.Popen[bytes]:
    """Begin to write the system tables of one server (2 s)."""
    scratch = layout.data / f"{server}-tmp"
    scratch.mkdir(exist_ok=True)
    command = [
        _require("mariadb-install-db"),
        "--no-defaults",
        f"--datadir={layout.data / server}",
        f"--tmpdir={scratch}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
        *_as_user(),
    ]
    return start_process(layout=layout, name=server, command=command)


def get_mariadb_command(*, layout: Layout, server: str) -> tuple[str, ...]:
    """The start command; the same for the first start and for a restart after a kill.

    Each server has its own directory for temporary files: two of them in one delete each other's.
    """
    temporary = layout.data / f"{server}-tmp"
    temporary.mkdir(exist_ok=True)
    return _marked(
        layout=layout,
        command=[
            _require("mariadbd"),
            "--no-defaults",
            f"--datadir={layout.data / server}",
            f"--tmpdir={temporary}",
            f"--socket={layout.root / f'{server}.sock'}",
            f"--pid-file={layout.root / f'{server}.pid'}",
            f"--init-file={layout.root / f'{server}.sql'}",
            "--bind-address=127.0.0.1",
            f"--port={layout.ports[server]}",
            "--innodb-log-file-size=64M",
            # A memory file system has no direct or native asynchronous I/O; containers may forbid io_uring.
            "--innodb-flush-method=fsync",
            "--innodb-use-native-aio=OFF",
            *get_mariadb_options(server=server),
            *_as_user(),
        ],
    )


def load_time_zones(*, layout: Layout, server: str) -> None:
    """Fill a server's time zone tables, without which CONVERT_TZ answers NULL and Django refuses dates in a zone."""
    convert = [_require("mariadb-tzinfo-to-sql"), "/usr/share/zoneinfo"]
    # It warns about every file there that is not a zone.
    zones = subprocess.run(convert, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    client = [
        _require("mariadb"),
        "--no-defaults",
        f"--socket={layout.root / f'{server}.sock'}",
        "--user=paysys",
        "mysql",
    ]
    loaded = subprocess.run(
        client,
        input=zones,
        env={**os.environ, "MYSQL_PWD": layout.password},
        capture_output=True,
    )
    if loaded.returncode != 0:
        raise StartFailed(f"time zones were not loaded:\n{loaded.stderr.decode(errors='replace')}")


def get_redis_command(*, layout: Layout) -> tuple[str, ...]:
    """Redis as in production: append-only file each second, no eviction."""
    directory = layout.data / "redis"
    directory.mkdir(exist_ok=True)
    return _marked(
        layout=layout,
        command=[
            _require("redis-server"),
            *("--bind", "127.0.0.1"),
            *("--port", str(layout.ports["redis"])),
            *("--dir", str(directory)),
            *("--pidfile", str(layout.root / "redis.pid")),
            *("--daemonize", "no"),
            *("--save", ""),
            *("--appendonly", "yes"),
            *("--appendfsync", "everysec"),
            *("--maxmemory-policy", "noeviction"),
        ],
    )


def get_rabbitmq_command(*, layout: Layout) -> tuple[str, ...]:
    """RabbitMQ with a private home, cookie, node name, distribution port and name server (epmd)."""
    home = layout.data / "rabbitmq"
    home.mkdir(exist_ok=True)
    (home / "enabled_plugins").write_text("[].\n")
    (home / "environment.conf").write_text("")
    (home / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{layout.ports['rabbitmq']}\n"
        "vm_memory_high_watermark.absolute = 512MB\n"
        "disk_free_limit.absolute = 50MB\n"
        "raft.wal_max_size_bytes = 16000000\n"
        "log.console = true\n"
        "log.file = false\n"
    )
    node = layout.root.name.removeprefix("paysys-test-").replace("_", "-")
    variables = {
        "HOME": str(home),
        "HOSTNAME": "localhost",
        "RABBITMQ_NODENAME": f"paysys-{node}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(layout.ports["rabbitmq"]),
        "RABBITMQ_DIST_PORT": str(layout.ports["rabbitmq-distribution"]),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(layout.root / "log"),
        "RABBITMQ_PID_FILE": str(layout.root / "rabbitmq.pid"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "environment.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2",
        # The script then becomes the server instead of waiting beside it, so that its pid is the server's.
        "RUNNING_UNDER_SYSTEMD": "true",
        "ERL_EPMD_PORT": str(layout.ports["epmd"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_CRASH_DUMP_BYTES": "0",
    }
    return _marked(layout=layout, command=[_require("rabbitmq-server")], variables=variables)


def start_native(*, layout: Layout) -> list[Service]:
    """Start the four servers side by side and return when all of them answer. Raises `StartFailed`."""
    installs = {}
    for server in MARIADB_SERVERS:
        init = layout.root / f"{server}.sql"
        init.write_text(get_init_sql(password=layout.password, server=server))
        init.chmod(0o600)
        installs[server] = start_mariadb_install(layout=layout, server=server)
    commands = {"rabbitmq": get_rabbitmq_command(layout=layout), "redis": get_redis_command(layout=layout)}
    processes = {name: start_process(layout=layout, name=name, command=command) for name, command in commands.items()}
    for server, install in installs.items():
        if install.wait(timeout=START_TIMEOUT_SECONDS) != 0:
            raise StartFailed(f"mariadb-install-db failed:\n{get_log_tail(layout=layout, name=server)}")
        commands[server] = get_mariadb_command(layout=layout, server=server)
        processes[server] = start_process(layout=layout, name=server, command=commands[server])
    checks = get_checks(layout=layout)
    for name, process in processes.items():
        wait_until(layout=layout, name=name, process=process, is_ready=checks[name])
        if name in MARIADB_SERVERS:
            load_time_zones(layout=layout, server=name)
        # A server that a fault test kills must vanish and not stay as a zombie of ours.
        threading.Thread(target=process.wait, daemon=True).start()
    return [
        Service(
            name=name,
            pid=processes[name].pid,
            port=layout.ports[name],
            start_command=commands[name],
            kill_command=_kill_by_pid_file(layout.root / f"{name}.pid"),
            places=get_places(layout=layout, name=name),
        )
        for name in checks
    ]


def get_checks(*, layout: Layout) -> dict[str, Callable[[], bool]]:
    """For each service, in the order of PAYSYS_TEST_SERVICES, the question whether it answers."""
    kinds = {"redis": is_redis_ready, "rabbitmq": is_rabbitmq_ready, **dict.fromkeys(MARIADB_SERVERS, is_mariadb_ready)}
    names = (*MARIADB_SERVERS, "redis", "rabbitmq")
    return {name: functools.partial(kinds[name], port=layout.ports[name]) for name in names}


def get_places(*, layout: Layout, name: str) -> dict[str, str]:
    """Socket and directories of a native service, for fault tests."""
    if name in MARIADB_SERVERS:
        return {"socket": str(layout.root / f"{name}.sock"), "datadir": str(layout.data / name)}
    return {"dir": str(layout.data / "redis")} if name == "redis" else {}


# --- the servers in containers ----------------------------------------------------------------------------


def get_compose_command(*, compose: Sequence[str], layout: Layout) -> tuple[str, ...]:
    """The compose command for this run's project; its variables are in a file, so anybody can call it."""
    return (
        *compose,
        *("--project-name", str(layout.compose_project)),
        *("--env-file", str(layout.root / "compose.env")),
        *("--file", str(COMPOSE_FILE)),
    )


def start_compose(*, layout: Layout, command: Sequence[str]) -> list[Service]:
    """Start the four servers as containers and return when all of them answer. Raises `StartFailed`."""
    for server in MARIADB_SERVERS:
        (layout.root / f"{server}.sql").write_text(get_init_sql(password=layout.password, server=server))
    variables = {
        "PAYSYS_INIT_SQL": str(layout.root / "mariadb.sql"),
        "PAYSYS_INIT_SQL_2": str(layout.root / "mariadb-2.sql"),
        "PAYSYS_ROOT_PASSWORD": layout.password,
        "PAYSYS_MARIADB_PORT": str(layout.ports["mariadb"]),
        "PAYSYS_MARIADB_2_PORT": str(layout.ports["mariadb-2"]),
        "PAYSYS_REDIS_PORT": str(layout.ports["redis"]),
        "PAYSYS_RABBITMQ_PORT": str(layout.ports["rabbitmq"]),
    }
    (layout.root / "compose.env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    raised = subprocess.run(
        [*command, "up", "--detach"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=COMPOSE_TIMEOUT_SECONDS,
    )
    if raised.returncode != 0:
        raise StartFailed(f"compose up failed:\n{raised.stderr.decode(errors='replace')[-2000:]}")
    services = []
    for name, is_ready in get_checks(layout=layout).items():
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not is_ready():
            if time.monotonic() > deadline:
                raise StartFailed(f"container {name} did not answer in {START_TIMEOUT_SECONDS} s")
            time.sleep(0.3)
        services.append(
            Service(
                name=name,
                port=layout.ports[name],
                start_command=(*command, "start", name),
                kill_command=(*command, "kill", "--signal", "KILL", name),
            )
        )
    return services


# --- the environment and the two commands -----------------------------------------------------------------


def get_environment(*, layout: Layout, services: Sequence[Service]) -> dict[str, str]:
    """The variables that `paysys.settings.test` and the fault tests read."""
    ports = layout.ports

    def urls(databases: Mapping[str, tuple[str, str]]) -> dict[str, str]:
        return {
            variable: f"mysql://paysys:{layout.password}@127.0.0.1:{ports[server]}/{name}"
            for variable, (server, name) in databases.items()
        }

    return {
        **urls(DATABASES),
        "PAYSYS_TEST_MORE_ORDERS": json.dumps(urls(MORE_ORDER_DATABASES)),
        "REDIS_URL": f"redis://127.0.0.1:{ports['redis']}/0",
        "CELERY_BROKER_URL": f"amqp://guest:guest@127.0.0.1:{ports['rabbitmq']}//",
        "DJANGO_SETTINGS_MODULE": "paysys.settings.test",
        "PAYSYS_TEST_SERVICES": json.dumps({service.name: service.describe() for service in services}),
    }


def _say(text: str) -> None:
    print(f"provision: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def provisioned() -> Iterator[tuple[Layout, dict[str, str]]]:
    """The services run while it is open; gives the layout and the environment.

    Raises `MissingPrograms` and `StartFailed`; nothing is left running after either.
    """
    compose = choose_source()
    began = time.monotonic()
    layout = make_layout(compose=compose is not None)
    command = get_compose_command(compose=compose, layout=layout) if compose else ()
    with guarded(layout=layout, compose=command):
        services = start_compose(layout=layout, command=command) if compose else start_native(layout=layout)
        _say(f"MariaDB, Redis and RabbitMQ answer after {time.monotonic() - began:.1f} s")
        yield layout, get_environment(layout=layout, services=services)


def _stop_on_signal(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def run(*, command: Sequence[str]) -> int:
    """Run the command with the services; returns its exit code, 128 + n when signal n ended it."""
    with provisioned() as (layout, environment):
        child = subprocess.Popen(command, env={**os.environ, **environment, ROOT_MARK: str(layout.root)})
        has_terminal = _is_foreground()

        def pass_on(number: int, _frame: FrameType | None) -> None:
            # Ctrl-C at a terminal has reached the child already.
            if not (number == signal.SIGINT and has_terminal):
                child.send_signal(number)
            signal.alarm(GRACE_SECONDS)

        def give_up(_number: int, _frame: FrameType | None) -> None:
            child.kill()

        signal.signal(signal.SIGALRM, give_up)
        signal.signal(signal.SIGTERM, pass_on)
        signal.signal(signal.SIGINT, pass_on)
        code = child.wait()
        signal.alarm(0)
    return 128 - code if code < 0 else code


def _is_foreground() -> bool:
    """Whether a terminal sends its Ctrl-C to our process group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def serve(*, env_file: Path) -> int:
    """Keep the services until SIGTERM or Ctrl-C; `env_file` is there as long as they answer."""
    with provisioned() as (_layout, environment):
        draft = env_file.with_name(env_file.name + ".new")
        draft.touch(mode=0o600)
        draft.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()))
        draft.replace(env_file)
        _say(f"environment in {env_file}; serving until SIGTERM")
        try:
            while True:
                signal.pause()
        except Stopped:
            return 0
        finally:
            env_file.unlink(missing_ok=True)


def main(arguments: Sequence[str]) -> int:
    """Parse and run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.provision", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="action", required=True)
    run_parser = commands.add_parser("run", help="run a command with the services")
    run_parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD…")
    serve_parser = commands.add_parser("serve", help="keep the services until SIGTERM")
    serve_parser.add_argument("--env-file", type=Path, required=True)
    guard_parser = commands.add_parser("guard", help="(internal) clean up when the parent is gone")
    guard_parser.add_argument("root", type=Path)
    guard_parser.add_argument("data", type=Path)
    guard_parser.add_argument("compose", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    if options.action == "guard":
        return guard(root=options.root, data=options.data, compose=options.compose)
    command = options.command[1:] if options.action == "run" and options.command[:1] == ["--"] else []
    if options.action == "run" and not command:
        run_parser.error("say what to run, after --")
    signal.signal(signal.SIGTERM, _stop_on_signal)
    signal.signal(signal.SIGINT, _stop_on_signal)
    try:
        return run(command=command) if options.action == "run" else serve(env_file=options.env_file)
    except MissingPrograms as error:
        _say(str(error))
        return EXIT_MISSING_PROGRAMS
    except StartFailed as error:
        _say(str(error))
        return EXIT_START_FAILED
    except Stopped as stopped:
        return 128 + int(stopped.args[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
