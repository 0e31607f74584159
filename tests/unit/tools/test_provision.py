"""The test services without servers: what is missing, what is said about it, what is handed to the tests."""

import json
import os
import shlex
import socket
import subprocess
from pathlib import Path

import pytest

from bootstrap import apt
from tests import provision


def test_lists_only_absent_programs_by_package() -> None:
    present = {"mariadbd": "/usr/sbin/mariadbd", "redis-server": "/usr/bin/redis-server"}
    requirements = (
        provision.Requirement(package="mariadb-server", programs=("mariadbd", "mariadb-install-db")),
        provision.Requirement(package="redis-server", programs=("redis-server",)),
        provision.Requirement(package="rabbitmq-server", programs=("rabbitmq-server",)),
    )
    assert provision.list_missing(requirements=requirements, find=present.get) == [
        provision.Requirement(package="mariadb-server", programs=("mariadb-install-db",)),
        provision.Requirement(package="rabbitmq-server", programs=("rabbitmq-server",)),
    ]


def test_nothing_is_missing_where_everything_is_found() -> None:
    assert provision.list_missing(requirements=provision.REQUIREMENTS, find=lambda name: f"/bin/{name}") == []


def test_message_names_programs_and_the_command_for_debian() -> None:
    missing = [
        provision.Requirement(package="mariadb-server", programs=("mariadbd", "mariadb")),
        provision.Requirement(package="redis-server", programs=("redis-server",)),
    ]
    lines = provision.describe_missing(missing=missing, system="Linux").splitlines()
    assert lines[0] == "The tests need programs that this machine lacks: mariadbd, mariadb, redis-server."
    assert lines[2].strip() == (
        "sudo apt-get update && sudo apt-get install -y --no-install-recommends mariadb-server redis-server"
    )


def test_message_names_the_command_for_a_mac() -> None:
    missing = [
        provision.Requirement(package="redis-server", programs=("redis-server",)),
        provision.Requirement(package="rabbitmq-server", programs=("rabbitmq-server",)),
    ]
    assert "    brew install redis rabbitmq\n" in provision.describe_missing(missing=missing, system="Darwin")


def test_without_programs_root_or_engine_ends_with_2_and_the_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(provision, "find_program", lambda *, name: None)
    monkeypatch.setattr(provision.apt, "can_install", lambda: False)
    monkeypatch.setattr(provision, "find_compose", lambda: None)
    monkeypatch.setattr(provision.signal, "signal", lambda number, handler: None)
    proof = tmp_path / "ran"
    assert provision.main(["run", "--", "touch", str(proof)]) == 2
    assert "this machine lacks: mariadbd," in capsys.readouterr().err
    assert not proof.exists()


def test_a_failed_installation_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*, packages: list[str]) -> None:
        raise apt.AptFailed(f"no mirror for {packages[0]}")

    monkeypatch.setattr(provision, "find_program", lambda *, name: None)
    monkeypatch.setattr(provision.apt, "can_install", lambda: True)
    monkeypatch.setattr(provision.apt, "install", fail)
    monkeypatch.setattr(provision, "find_compose", lambda: None)
    with pytest.raises(provision.MissingPrograms, match=r"apt-get install(.|\n)*no mirror for mariadb-server"):
        provision.choose_source()


def test_services_are_kept_still_only_while_installing(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with apt.services_kept_still(policy_file=policy):
        assert subprocess.run([policy]).returncode == 101
    assert not policy.exists()


def test_a_policy_of_the_machine_is_left_alone(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 104\n")
    with apt.services_kept_still(policy_file=policy):
        assert policy.read_text() == "#!/bin/sh\nexit 104\n"
    assert policy.read_text() == "#!/bin/sh\nexit 104\n"


def test_ports_are_different_free_and_below_the_outgoing_range() -> None:
    names = tuple(f"service-{number}" for number in range(20))
    ports = provision.choose_ports(names=names)
    assert tuple(ports) == names
    assert len(set(ports.values())) == 20
    assert all(20000 <= port < 30000 for port in ports.values())
    for port in ports.values():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_environment_names_every_database_and_how_to_restart(tmp_path: Path) -> None:
    layout = provision.Layout(
        root=tmp_path,
        data=tmp_path / "data",
        password="secret",
        ports={"mariadb": 20001, "mariadb-2": 20004, "redis": 20002, "rabbitmq": 20003},
    )
    redis = provision.Service(
        name="redis",
        pid=42,
        port=20002,
        start_command=("redis-server", "--port", "20002"),
        kill_command=("kill", "42"),
        places={"dir": "/data/redis"},
    )
    environment = provision.get_environment(layout=layout, services=[redis])
    assert json.loads(environment.pop("PAYSYS_TEST_SERVICES")) == {
        "redis": {
            "pid": 42,
            "port": 20002,
            "dir": "/data/redis",
            "start_command": ["redis-server", "--port", "20002"],
            "kill_command": ["kill", "42"],
        }
    }
    assert json.loads(environment.pop("PAYSYS_TEST_MORE_ORDERS")) == {
        "ORDERS_2_DATABASE_URL": "mysql://paysys:secret@127.0.0.1:20001/paysys_orders_2",
        "ORDERS_3_DATABASE_URL": "mysql://paysys:secret@127.0.0.1:20004/paysys_orders_3",
    }
    assert environment == {
        "DATABASE_URL": "mysql://paysys:secret@127.0.0.1:20001/paysys_default",
        "FUNDS_DATABASE_URL": "mysql://paysys:secret@127.0.0.1:20001/paysys_funds",
        "REDPACKET_DATABASE_URL": "mysql://paysys:secret@127.0.0.1:20001/paysys_redpacket",
        "ORDERS_0_DATABASE_URL": "mysql://paysys:secret@127.0.0.1:20001/paysys_orders_0",
        "ORDERS_1_DATABASE_URL": "mysql://paysys:secret@127.0.0.1:20004/paysys_orders_1",
        "REDIS_URL": "redis://127.0.0.1:20002/0",
        "CELERY_BROKER_URL": "amqp://guest:guest@127.0.0.1:20003//",
        "DJANGO_SETTINGS_MODULE": "paysys.settings.test",
    }


def test_end_kills_marked_processes_and_no_others(tmp_path: Path) -> None:
    root = tmp_path / "root"
    data = tmp_path / "data"
    root.mkdir()
    data.mkdir()
    marked = subprocess.Popen(["sleep", "60"], env={**os.environ, provision.ROOT_MARK: str(root)})
    # Works in our directory and is in a pid file, as Redis, whose title has covered its environment.
    titled = subprocess.Popen(["sleep", "60"], cwd=data)
    (root / "redis.pid").write_text(f"{titled.pid}\n")
    # A pid file whose number went to a stranger, and a run whose directory's name begins alike.
    stranger = subprocess.Popen(["sleep", "60"], env={**os.environ, provision.ROOT_MARK: f"{root}-2"})
    (root / "old.pid").write_text(f"{stranger.pid}\n")
    try:
        provision.end_everything(root=root, data=data, compose=())
        assert marked.wait(timeout=5) == -9
        assert titled.wait(timeout=5) == -9
        assert stranger.poll() is None
        assert not root.exists()
        assert not data.exists()
    finally:
        for process in (marked, titled, stranger):
            process.kill()
            process.wait()


def test_kill_command_reads_the_pid_of_the_moment(tmp_path: Path) -> None:
    pid_file = tmp_path / "with a space" / "redis.pid"
    pid_file.parent.mkdir()
    with subprocess.Popen(["sleep", "60"]) as process:
        pid_file.write_text(f"{process.pid}\n")
        subprocess.run(provision._kill_by_pid_file(pid_file), check=True)
        assert process.wait(timeout=5) == -9


@pytest.mark.parametrize("server", provision.MARIADB_SERVERS)
def test_container_options_are_those_of_the_installed_servers(server: str) -> None:
    services = provision.COMPOSE_FILE.read_text().partition(f"  {server}:\n")[2]
    service = services.partition("environment:")[0]
    options = [line.strip().removeprefix("- ") for line in service.splitlines() if line.strip().startswith("- ")]
    assert options == provision.get_mariadb_options(server=server)


def test_each_database_is_made_on_its_own_server_and_the_order_databases_alternate() -> None:
    made = {server: provision.get_init_sql(password="x", server=server) for server in provision.MARIADB_SERVERS}
    for number in range(4):
        here = [server for server, text in made.items() if f"EXISTS paysys_orders_{number} " in text]
        assert here == [provision.MARIADB_SERVERS[number % 2]]
    assert all("CREATE USER IF NOT EXISTS 'paysys'@'%'" in text for text in made.values())


def test_two_servers_share_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provision, "_require", lambda name: f"/usr/sbin/{name}")
    (tmp_path / "data").mkdir()
    ports = {"mariadb": 20001, "mariadb-2": 20002}
    layout = provision.Layout(root=tmp_path, data=tmp_path / "data", password="secret", ports=ports)
    one, two = (
        {part for part in provision.get_mariadb_command(layout=layout, server=server) if part.startswith("--")}
        for server in provision.MARIADB_SERVERS
    )
    for option in ("datadir", "tmpdir", "socket", "pid-file", "init-file", "port"):
        first, second = (next(part for part in parts if part.startswith(f"--{option}=")) for parts in (one, two))
        assert first != second


def test_env_file_lines_survive_the_shell() -> None:
    value = json.dumps({"a": ["$HOME", "it's", "two words"]})
    line = f"export PAYSYS_PROBE={shlex.quote(value)}"
    shown = subprocess.run(["sh", "-c", f'{line}; printf %s "$PAYSYS_PROBE"'], capture_output=True, text=True)
    assert shown.stdout == value
