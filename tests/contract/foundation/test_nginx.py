"""deploy/nginx on a real nginx with TLS, in front of two small servers that tell what reached them."""

from __future__ import annotations

import datetime as dt
import http.client
import http.server
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.provision import choose_ports, find_program

CONFIGURATION = Path(__file__).resolve().parents[3] / "deploy" / "nginx" / "paysys.conf"
LANGUAGES = {"en": "Too many requests.", "zh-CN,zh;q=0.9": "请求过于频繁。"}


class Web(http.server.BaseHTTPRequestHandler):
    """Tells what it was asked; counts; /api/v1/slow waits for the gate."""

    protocol_version = "HTTP/1.1"
    reached: list[str] = []
    gate = threading.Event()

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        Web.reached.append(self.path)
        if self.path == "/api/v1/slow":
            Web.gate.wait(20)
        said = {"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}}
        body = json.dumps(said).encode()
        self.send_response(503 if self.path == "/api/v1/full" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *args: object) -> None:
        """Says nothing."""


class Push(Web):
    """Two events; the second one only when the test has seen the first."""

    seen = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"id: 1\ndata: first\n\n")
        self.wfile.flush()
        assert Push.seen.wait(20)
        self.wfile.write(b"id: 2\ndata: second\n\n")
        self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, dict[str, object]]:
        found: dict[str, dict[str, object]] = json.loads(self.body)
        return found


@dataclass(frozen=True)
class Proxy:
    """The running nginx."""

    port: int
    plain_port: int
    authority: Path
    directory: Path

    def open(self, *, source: str = "127.0.0.1") -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.authority))
        context.check_hostname = False
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=20, context=context, source_address=(source, 0)
        )

    def ask(
        self, path: str, *, method: str = "GET", body: bytes = b"", source: str = "127.0.0.1", **headers: str
    ) -> Answer:
        connection = self.open(source=source)
        try:
            sent = {"Host": "pay.example.com", **{name.replace("_", "-"): value for name, value in headers.items()}}
            connection.request(method, path, body=body or None, headers=sent)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(status=response.status, headers=found, body=response.read())
        finally:
            connection.close()


def write_certificate(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pay.example.com")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "key.pem").write_bytes(private)


def render(directory: Path, ports: dict[str, int]) -> Path:
    """The configuration as it stands, with this machine's ports and paths, inside of the smallest main file."""
    text = CONFIGURATION.read_text()
    for old, new in (
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{ports['web']};"),
        ("server 127.0.0.1:8001;", f"server 127.0.0.1:{ports['push']};"),
        ("listen 80;", f"listen 127.0.0.1:{ports['plain']};"),
        ("listen 443 ssl http2;", f"listen 127.0.0.1:{ports['tls']} ssl http2;"),
        ("/etc/paysys/tls/fullchain.pem", str(directory / "fullchain.pem")),
        ("/etc/paysys/tls/key.pem", str(directory / "key.pem")),
        ("alias /srv/paysys/static/;", f"alias {directory}/static/;"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (directory / "paysys.conf").write_text(text)
    places = "\n".join(
        f"    {name}_temp_path {directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = directory / "nginx.conf"
    main.write_text(
        f"{'user root;' if os.geteuid() == 0 else ''}\n"  # its workers must read what pytest's directories hide
        f"daemon off;\npid {directory}/nginx.pid;\nerror_log {directory}/error.log warn;\nworker_processes 1;\n"
        "events { worker_connections 1024; }\n"
        "http {\n    types { text/css css; }\n    access_log off;\n"
        f"{places}\n    include {directory}/paysys.conf;\n}}\n"
    )
    return main


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    nginx = find_program(name="nginx")
    assert nginx, "nginx is missing: apt-get install nginx (as root, `make test` does it)"
    directory = tmp_path_factory.mktemp("nginx")
    directory.chmod(0o755)
    ports = choose_ports(names=("web", "push", "plain", "tls"))
    write_certificate(directory)
    (directory / "static").mkdir()
    (directory / "static" / "site.css").write_text("body { margin: 0 }")
    (directory / "secret.txt").write_text("secret")
    main = render(directory, ports)
    command = [nginx, "-p", str(directory), "-c", str(main), "-e", str(directory / "error.log")]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    servers = [Server(("127.0.0.1", ports["web"]), Web), Server(("127.0.0.1", ports["push"]), Push)]
    threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    process = subprocess.Popen(command)
    try:
        _wait(ports["tls"], process)
        yield Proxy(ports["tls"], ports["plain"], directory / "fullchain.pem", directory)
    finally:
        Web.gate.set()
        process.terminate()
        process.wait(10)
        for server in servers:
            server.shutdown()
            server.server_close()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, "nginx ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nginx does not answer")


def test_the_configuration_is_without_errors_and_without_warnings(proxy: Proxy) -> None:
    nginx = find_program(name="nginx") or ""
    main = str(proxy.directory / "nginx.conf")
    told = subprocess.run([nginx, "-t", "-q", "-c", main, "-p", str(proxy.directory)], capture_output=True, text=True)
    assert (told.returncode, [line for line in told.stderr.splitlines() if "[warn]" in line]) == (0, [])


def test_what_a_client_says_of_itself_is_replaced(proxy: Proxy) -> None:
    told = proxy.ask(
        "/api/v1/wallet",
        X_Forwarded_For="6.6.6.6",
        X_Forwarded_Proto="http",
        X_Request_ID="request-0001",
        Proxy="http://evil.example",
        Authorization="Bearer " + "a" * 32,
    ).json()["headers"]
    assert told["x-forwarded-for"] == "127.0.0.1"
    assert told["x-forwarded-proto"] == "https"
    assert told["x-request-id"] == "request-0001"
    assert told["host"] == "pay.example.com"
    assert told["authorization"] == "Bearer " + "a" * 32
    assert "proxy" not in told
    made = proxy.ask("/api/v1/wallet", X_Request_ID="<script>").json()["headers"]["x-request-id"]
    assert isinstance(made, str)
    assert len(made) == 32


def test_plain_http_is_sent_to_https(proxy: Proxy) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.plain_port, timeout=10)
    connection.request("GET", "/api/v1/wallet?x=1", headers={"Host": "pay.example.com"})
    response = connection.getresponse()
    assert (response.status, response.getheader("Location")) == (301, "https://pay.example.com/api/v1/wallet?x=1")


def test_a_body_that_is_too_large_does_not_get_through(proxy: Proxy) -> None:
    before = len(Web.reached)
    assert proxy.ask("/api/v1/transfers", method="POST", body=b"x" * 256 * 1024).status == 200
    refused = proxy.ask("/api/v1/transfers", method="POST", body=b"x" * (256 * 1024 + 1), Accept_Language="en")
    assert (refused.status, refused.headers["content-type"]) == (413, "application/json")
    assert refused.json()["error"]["code"] == "body_too_large"
    assert proxy.ask("/api/v1/auth/login", method="POST", body=b"x" * 8193).status == 413
    assert proxy.ask("/admin/upload", method="POST", body=b"x" * 10 * 1024 * 1024).status == 200
    assert len(Web.reached) - before == 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_who_asks_too_fast_is_told_so_in_the_form_of_the_api(proxy: Proxy, language: str) -> None:
    source = f"127.0.1.{1 + list(LANGUAGES).index(language)}"
    before = len(Web.reached)
    began = time.monotonic()
    answers = [
        proxy.ask("/api/v1/auth/login", method="POST", body=b"{}", source=source, Accept_Language=language)
        for _ in range(60)
    ]
    passed = [answer for answer in answers if answer.status == 200]
    refilled = int((time.monotonic() - began) * 10) + 1
    assert 21 <= len(passed) <= 21 + refilled
    assert len(Web.reached) - before == len(passed)
    refused = next(answer for answer in answers if answer.status != 200)
    error = refused.json()["error"]
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert error == {
        "code": "rate_limited",
        "message": LANGUAGES[language],
        "details": {"limit": "proxy", "retry_after_seconds": 1},
        "request_id": refused.headers["x-request-id"],
    }


def test_the_log_ins_of_one_office_are_counted_one_by_one(proxy: Proxy) -> None:
    def wallet(token: str, count: int) -> list[int]:
        """Over one connection, for a handshake each would take longer than the rate allows."""
        connection = proxy.open(source="127.0.1.9")
        headers, found = {"Host": "pay.example.com", "Authorization": f"Bearer {token}"}, []
        for _ in range(count):
            connection.request("GET", "/api/v1/wallet", headers=headers)
            response = connection.getresponse()
            response.read()
            found.append(response.status)
        connection.close()
        return found

    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        busy = [status for found in pool.map(wallet, ["b" * 32] * 4, [200] * 4) for status in found]
    refilled = int((time.monotonic() - began) * 50) + 1
    assert 101 <= busy.count(200) <= 101 + refilled
    assert busy.count(200) + busy.count(429) == 800
    assert set(wallet("c" * 32, 20)) == {200}


def test_notices_of_providers_are_never_told_to_come_back(proxy: Proxy) -> None:
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda _: proxy.ask("/notify/wechat", method="POST", body=b"{}").status, range(160)))
    assert set(statuses) == {200}


def test_so_many_requests_of_one_caller_may_be_under_way(proxy: Proxy) -> None:
    Web.gate.clear()
    with ThreadPoolExecutor(60) as pool:
        headers = {"Authorization": "Bearer " + "d" * 32}
        waiting = [pool.submit(proxy.ask, "/api/v1/slow", source="127.0.1.7", **headers) for _ in range(55)]
        deadline = time.monotonic() + 15
        while sum(one.done() for one in waiting) < 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        refused = [one.result() for one in waiting if one.done()]
        Web.gate.set()
        statuses = [one.result().status for one in waiting]
    assert [answer.json()["error"]["code"] for answer in refused] == ["rate_limited"] * 5
    assert (statuses.count(200), statuses.count(429)) == (50, 5)


def test_events_arrive_one_by_one(proxy: Proxy) -> None:
    Push.seen.clear()
    connection = proxy.open()
    connection.request("GET", "/api/v1/push/events", headers={"Host": "pay.example.com"})
    response = connection.getresponse()
    assert response.getheader("Content-Type") == "text/event-stream"
    assert response.read1(64) == b"id: 1\ndata: first\n\n"
    Push.seen.set()
    assert response.read() == b"id: 2\ndata: second\n\n"


def test_static_files_come_from_the_disk_and_nothing_beside_them(proxy: Proxy) -> None:
    before = len(Web.reached)
    found = proxy.ask("/static/site.css")
    assert len(Web.reached) == before
    assert (found.status, found.body, found.headers["content-type"]) == (200, b"body { margin: 0 }", "text/css")
    assert found.headers["cache-control"] == "public, max-age=3600"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert proxy.ask("/static/none.css").status == 404
    for path in ("/static/..%2fsecret.txt", "/static/../secret.txt", "/static../secret.txt"):
        assert proxy.ask(path).body != b"secret"


def test_the_probes_are_for_our_own_network(proxy: Proxy) -> None:
    assert [proxy.ask(path).status for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]
    assert [proxy.ask(path, source="127.0.1.8").status for path in ("/healthz", "/readyz", "/metrics")] == [
        200,
        403,
        403,
    ]


def test_an_answer_of_the_limiter_goes_out_as_it_is(proxy: Proxy) -> None:
    answer = proxy.ask("/api/v1/full")
    assert (answer.status, answer.json()["path"]) == (503, "/api/v1/full")


def test_when_no_process_answers_the_caller_is_told_to_come_back(proxy: Proxy, tmp_path: Path) -> None:
    """A second nginx, whose web process is not there."""
    ports = choose_ports(names=("web", "push", "plain", "tls"))
    write_certificate(tmp_path)
    main = render(tmp_path, ports)
    nginx = find_program(name="nginx") or ""
    process = subprocess.Popen([nginx, "-p", str(tmp_path), "-c", str(main), "-e", str(tmp_path / "error.log")])
    try:
        _wait(ports["tls"], process)
        lonely = Proxy(ports["tls"], ports["plain"], tmp_path / "fullchain.pem", tmp_path)
        answer = lonely.ask("/api/v1/wallet", Accept_Language="en", X_Request_ID="request-0002")
    finally:
        process.terminate()
        process.wait(10)
    assert (answer.status, answer.headers["retry-after"]) == (503, "3")
    assert answer.json() == {
        "error": {
            "code": "busy",
            "message": "The system is busy. Please try again shortly.",
            "details": {"reason": "no web process answers"},
            "request_id": "request-0002",
        }
    }
