#!/usr/bin/env python3
"""How fast mail goes to an IMAP server, by `restante sync` and by mbsync, in one run.

    scripts/imap_throughput.py CASE MAILDIR ACCOUNT [--restante PROGRAM] [--runs N]

CASE holds the mail of ACCOUNT, and MAILDIR is that account as `restante sync` restored it. Both tools send
it to a new Dovecot (mdbox) in turn, N times; figures are medians. mbsync gets a copy of the Maildir
without its state, and pushes all folders of it. Needs Dovecot and isync (scripts/setup.sh).
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent

_MBSYNC = """\
IMAPAccount server
Host 127.0.0.1
Port {port}
User {user}
Pass {password}
SSLType None
AuthMechs PLAIN
PipelineDepth 50

IMAPStore far
Account server

MaildirStore near
Inbox {copy}
SubFolders Maildir++

Channel all
Far :far:
Near :near:
Patterns "restored_emails" "restored_emails/*"
Create Far
Sync Push
CopyArrivalDate yes
SyncState {state}/
"""


class Server:
    """A new Dovecot."""

    def __init__(self, folder: pathlib.Path, account: str):
        argv = [sys.executable, HERE / "imap_server.py", "dovecot", folder, "--mdbox", "--user", account]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = json.loads(self.process.stdout.readline())

    def end(self) -> None:
        """Ends it."""
        self.process.stdin.close()
        self.process.wait()


def restante(arguments: argparse.Namespace, server: Server, scratch: pathlib.Path) -> float:
    """Seconds that restante takes; its plan included."""
    credentials = scratch / "credentials.json"
    credentials.write_text(json.dumps({"master": server.ready["master"]}))
    credentials.chmod(0o600)
    shutil.rmtree(arguments.case / "ledger", ignore_errors=True)
    argv = [arguments.restante, "sync", arguments.case, "-q", "--account", arguments.account,
            "--to", f"imap://localhost:{server.ready['imap']}",
            "--ca", server.ready["ca"], "--credentials", credentials]  # fmt: skip
    begun = time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


def mbsync(arguments: argparse.Namespace, server: Server, scratch: pathlib.Path) -> float:
    """Seconds that mbsync takes for a copy of the Maildir."""
    copy, state, conf = scratch / "copy", scratch / "state", scratch / "mbsyncrc"
    subprocess.run(["cp", "-a", arguments.maildir, copy], check=True)
    for part in ("cur", "new", "tmp"):
        (copy / part).mkdir(exist_ok=True)
    state.mkdir()
    conf.write_text(
        _MBSYNC.format(port=server.ready["imap"], user=arguments.account, password=server.ready["password"], copy=copy, state=state)
    )
    begun = time.monotonic()
    subprocess.run(["mbsync", "-q", "-c", conf, "all"], check=True)
    return time.monotonic() - begun


def count(server: Server, account: str) -> int:
    """How many messages the server has."""
    argv = [sys.executable, HERE / "imap_fetch.py", str(server.ready["imap"]), account, server.ready["password"]]
    read = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)
    return sum(len(folder["messages"]) for folder in read["folders"])


def main() -> int:
    """Prints both rates."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("case", type=pathlib.Path)
    parser.add_argument("maildir", type=pathlib.Path)
    parser.add_argument("account")
    parser.add_argument("--restante", default="restante", help="the program")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    took: dict[str, list[float]] = {"restante": [], "mbsync": []}
    counts: set[int] = set()
    for _ in range(arguments.runs):
        for name, push in (("restante", restante), ("mbsync", mbsync)):
            with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
                scratch = pathlib.Path(folder)
                os.chmod(scratch, 0o755)
                server = Server(scratch / "server", arguments.account)
                try:
                    took[name].append(push(arguments, server, scratch))
                    counts.add(count(server, arguments.account))
                finally:
                    server.end()
    print(f"{'/'.join(map(str, sorted(counts)))} messages, medians of {arguments.runs}")
    medians = {name: statistics.median(seconds) for name, seconds in took.items()}
    for name, seconds in medians.items():
        print(f"{name:10} {seconds:7.3f} s {max(counts) / seconds:8.0f} messages/s")
    print(f"restante / mbsync: {medians['mbsync'] / medians['restante']:.2f} of its rate")
    return 0


if __name__ == "__main__":
    sys.exit(main())
