"""Puts the parts together and serves them: one process, many threads, one directory."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, RequestRedirect
from werkzeug.routing import Rule as Route
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from simulator import credentials
from simulator.alipay.channel import AlipayChannel
from simulator.books import Books, BooksClosed
from simulator.clock import Clock
from simulator.control import Control, json_response
from simulator.delivery import Deliverer
from simulator.faults import Faults
from simulator.kuaiqian.channel import KuaiqianChannel
from simulator.pages import Pages
from simulator.wechat import legacy_keys
from simulator.wechat.channel import WechatChannel
from simulator.wechat.legacy import LegacyApplication, LegacyServer, WechatLegacyChannel
from simulator.world import NOTICE_TIMEOUT_SECONDS, Channel, Options, World

BOOKS_FILE = "books.sqlite3"
LOCK_FILE = "serve.lock"
POLL_SECONDS = 0.05
"""How often the listening thread looks whether it shall stop."""


class DirectoryInUse(Exception):
    """Another simulator serves the directory; two would send every notice twice."""


class Application:
    """WSGI. A stopped one answers 503 to connections that are still open."""

    def __init__(self, *, world: World, channels: Mapping[str, Channel]) -> None:
        self._world = world
        self._channels = channels
        self._control = Control(world=world, channels=channels)
        self._pages = Pages(world=world, channels=channels)
        routes = [Route("/healthz", methods=["GET"], endpoint="health.ok")]
        routes += self._control.routes() + self._pages.routes()
        for channel in channels.values():
            routes += channel.routes()
        self._map = Map(routes, strict_slashes=False, merge_slashes=False)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            response = self._answer(Request(environ))
        except BooksClosed:
            response = json_response({"message": "stopping"}, status=503)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if self._world.stopping.is_set():
            return json_response({"message": "stopping"}, status=503)
        try:
            endpoint, arguments = self._map.bind_to_environ(request.environ).match()
        except RequestRedirect as error:
            return json_response({"message": "not found"}, status=error.code)
        except HTTPException as error:
            return json_response({"message": error.name}, status=error.code or 500)
        part = endpoint.partition(".")[0]
        if part == "health":
            return json_response({"status": "ok"})
        if part == "control":
            return self._control.handle(endpoint=endpoint, request=request)
        if part == "pages":
            return self._pages.handle(endpoint=endpoint, request=request)
        return self._channels[part].handle(endpoint=endpoint, request=request, arguments=arguments)


class QuietHandler(WSGIRequestHandler):
    """No line for each request; headers and body leave at once."""

    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Quiet."""


@dataclass(frozen=True, kw_only=True)
class Handle:
    """A running simulator. `stop` may be called more than once."""

    url: str
    world: World
    _server: BaseWSGIServer
    _thread: threading.Thread
    _deliverer: Deliverer
    _lock_file: IO[bytes]
    _legacy: LegacyServer | None = None

    @property
    def legacy_url(self) -> str:
        """Of WeChat's v2 payouts; "" when they are not served."""
        return "" if self._legacy is None else self._legacy.url

    def stop(self) -> None:
        """Within about a second; what is due stays in the books for the next start."""
        if self.world.stopping.is_set():
            return
        self.world.stopping.set()
        if self._legacy is not None:
            self._legacy.stop()
        self._server.shutdown()
        self._thread.join()
        self._deliverer.stop()
        self.world.books.close()
        self._lock_file.close()


def start(
    *,
    directory: Path,
    port: int = 0,
    host: str = "127.0.0.1",
    notice_retry_scale: float = 1.0,
    refund_delay_seconds: float = 0.5,
    notice_timeout_seconds: float = NOTICE_TIMEOUT_SECONDS,
    kuaiqian_payout_notify_url: str = "",
    legacy_port: int | None = None,
) -> Handle:
    """Serves in threads of this process; port 0 takes a free one. `legacy_port`: WeChat's v2 payouts, over TLS.

    Raises credentials.CredentialsMissing, DirectoryInUse, OSError.
    """
    secrets = credentials.load(directory=directory)
    lock_file = _lock(directory / LOCK_FILE)
    books = Books(file=directory / BOOKS_FILE)
    world = World(
        credentials=secrets,
        clock=Clock(offset_seconds=float(books.read_setting("clock_offset_seconds") or 0.0)),
        books=books,
        faults=Faults(books=books),
        options=Options(
            notice_retry_scale=notice_retry_scale,
            refund_delay_seconds=refund_delay_seconds,
            notice_timeout_seconds=notice_timeout_seconds,
            kuaiqian_payout_notify_url=kuaiqian_payout_notify_url,
        ),
        stopping=threading.Event(),
        wake=threading.Event(),
    )
    channels: dict[str, Channel] = {
        channel.name: channel
        for channel in (WechatChannel(world=world), AlipayChannel(world=world), KuaiqianChannel(world=world))
    }
    legacy: LegacyServer | None = None
    try:
        if legacy_port is not None:
            channels[WechatLegacyChannel.name] = WechatLegacyChannel(world=world)
            keys = legacy_keys.initialise(directory=directory, mchid=secrets.mchid, appid=secrets.appid)
            application = LegacyApplication(world=world, channels=channels, keys=keys)
            legacy = LegacyServer(application=application, keys=keys, host=host, port=legacy_port)
        server = make_server(
            host, port, Application(world=world, channels=channels), threaded=True, request_handler=QuietHandler
        )
    except BaseException:
        if legacy is not None:
            legacy.stop()
        books.close()
        lock_file.close()
        raise
    deliverer = Deliverer(world=world, channels=channels)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": POLL_SECONDS}, daemon=True)
    thread.start()
    deliverer.start()
    shown_host = f"[{host}]" if ":" in host else host
    return Handle(
        url=f"http://{shown_host}:{server.port}",
        world=world,
        _server=server,
        _thread=thread,
        _deliverer=deliverer,
        _lock_file=lock_file,
        _legacy=legacy,
    )


def _lock(path: Path) -> IO[bytes]:
    """Held until the file is closed, also by the death of the process."""
    stream = path.open("ab")
    path.chmod(0o600)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.close()
        raise DirectoryInUse(f"{path.parent} is served by another simulator") from error
    return cast("IO[bytes]", stream)
