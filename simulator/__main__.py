"""`python -m simulator init|serve`."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import threading
from pathlib import Path

from simulator import credentials, server
from simulator.world import NOTICE_TIMEOUT_SECONDS

PARENT_WATCH_SECONDS = 0.5
PAYOUT_NOTIFY_VARIABLE = "SIMULATOR_KUAIQIAN_PAYOUT_NOTIFY_URL"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.command == "init":
        print(credentials.initialise(directory=options.directory))
        return 0
    return _serve(options)


def _serve(options: argparse.Namespace) -> int:
    """Until SIGTERM or SIGINT, or with --parent-watch until the parent process is gone."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    parent = os.getppid()
    try:
        handle = server.start(
            directory=options.directory,
            host=options.host,
            port=options.port,
            notice_retry_scale=options.notice_retry_scale,
            refund_delay_seconds=options.refund_delay,
            notice_timeout_seconds=options.notice_timeout,
            kuaiqian_payout_notify_url=options.kuaiqian_payout_notify_url,
            legacy_port=options.legacy_port,
        )
    except (credentials.CredentialsMissing, server.DirectoryInUse) as error:
        print(error, file=sys.stderr)
        return 1
    if handle.legacy_url:
        print(f"WeChat v2 payouts on {handle.legacy_url}", flush=True)
    print(f"simulator listening on {handle.url}", flush=True)
    while not ended.wait(PARENT_WATCH_SECONDS if options.parent_watch else None):
        if os.getppid() != parent:
            break
    handle.stop()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    initialise = commands.add_parser("init", help="make keys and credentials.json; existing files stay")
    initialise.add_argument("--directory", type=Path, required=True)
    serve = commands.add_parser("serve", help="play the providers")
    serve.add_argument("--directory", type=Path, required=True)
    serve.add_argument("--port", type=int, required=True, help="0 takes a free one")
    serve.add_argument("--legacy-port", type=int, help="WeChat's v2 payouts over TLS; 0 takes a free one")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--parent-watch", action="store_true", help="end when the parent process ends")
    serve.add_argument(
        "--notice-retry-scale", type=_seconds, default=1.0, help="multiplies the waits between tries of a notice"
    )
    serve.add_argument("--refund-delay", type=_seconds, default=0.5, help="seconds until a refund is settled")
    serve.add_argument(
        "--notice-timeout", type=_seconds, default=NOTICE_TIMEOUT_SECONDS, help="seconds the merchant has to answer"
    )
    serve.add_argument(
        "--kuaiqian-payout-notify-url",
        default=os.environ.get(PAYOUT_NOTIFY_VARIABLE, ""),
        help=f"where 99bill tells of payouts (or the variable {PAYOUT_NOTIFY_VARIABLE}); left out, it tells nobody",
    )
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError("must be a number that is not negative")
    return value


if __name__ == "__main__":
    sys.exit(main())
