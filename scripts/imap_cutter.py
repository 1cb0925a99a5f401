#!/usr/bin/env python3
"""A bad line between an IMAP client and its server: cuts connections at chosen moments.

    scripts/imap_cutter.py SERVER_PORT --cuts N --seed S

Listens on 127.0.0.1, prints its port on a line, and ends when standard input does. The first N
connections in which the client appends are cut once each, by turns:

    answer    when the server answers an APPEND: the client never sees that
    middle    after a part of what the client sends of an APPEND
    sent      when all of an APPEND is sent, and nothing of the answer came

At the end it prints how often it cut each way, as JSON. Speaks plain IMAP: no TLS, no compression.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import socket
import sys
import threading
from collections import Counter

WAYS = ["answer", "middle", "sent"]


class Cutter:
    """What all connections share."""

    def __init__(self, server: int, cuts: int, seed: int):
        self.server = server
        self.left = cuts
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.lock = threading.Lock()

    def next_way(self) -> str | None:
        """How the next connection is cut."""
        with self.lock:
            if self.left == 0:
                return None
            self.left -= 1
            return WAYS[self.left % len(WAYS)]

    def cut(self, way: str, *ends: socket.socket) -> None:
        """Ends a connection on both sides."""
        with self.lock:
            self.done[way] += 1
        for end in ends:
            end.close()


def close(*ends: socket.socket) -> None:
    """Closes what may be closed already."""
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        end.close()


class Line:
    """One connection."""

    def __init__(self, cutter: Cutter, client: socket.socket):
        self.cutter = cutter
        self.client = client
        self.server = socket.create_connection(("127.0.0.1", cutter.server))
        self.way: str | None = None
        self.appending = False
        self.bytes = 0

    def from_client(self) -> None:
        """Passes on what the client sends."""
        try:
            while data := self.client.recv(4096):
                # It has no line ends of its own before the command: a tag, and the word.
                if not self.appending and re.search(rb"R\d+ APPEND ", data):
                    self.appending = True
                    self.way = self.cutter.next_way()
                    self.limit = self.cutter.random.randrange(1, 6000)
                if self.appending:
                    self.bytes += len(data)
                if self.way == "middle" and self.bytes > self.limit:
                    self.server.sendall(data[: len(data) // 2])
                    break
                self.server.sendall(data)
        except OSError:
            pass
        if self.way == "middle" and self.appending:
            self.cutter.cut("middle")
            self.way = None
        close(self.client, self.server)

    def from_server(self) -> None:
        """Passes on what the server says."""
        try:
            while data := self.server.recv(4096):
                if self.appending and re.search(rb"R\d+ (OK|NO) .*APPEND", data) and self.way in ("answer", "sent"):
                    self.cutter.cut(self.way)
                    if self.way == "answer":
                        self.client.sendall(data[:1])
                    self.way = None
                    break
                # What could begin a compression or TLS is taken out of what the server can.
                data = data.replace(b" COMPRESS=DEFLATE", b"").replace(b" STARTTLS", b"")
                self.client.sendall(data)
        except OSError:
            pass
        close(self.client, self.server)


def serve(listener: socket.socket, cutter: Cutter) -> None:
    """Takes connections until the listener is closed."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        line = Line(cutter, client)
        for work in (line.from_client, line.from_server):
            threading.Thread(target=work, daemon=True).start()


def main() -> int:
    """Serves until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("server", type=int)
    parser.add_argument("--cuts", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    cutter = Cutter(arguments.server, arguments.cuts, arguments.seed)
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    threading.Thread(target=serve, args=(listener, cutter), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()
    print(json.dumps(cutter.done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
