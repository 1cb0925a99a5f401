"""A line between an IMAP client and its server that is severed at chosen moments.

    with SeveredLine(server_port, seed=7, cuts=10) as line:
        ...                       # the client connects to line.port
        line.done                 # Counter of what was cut, by way

It follows the client's commands and literals (RFC 3501, LITERAL+), so that a moment is one of the
protocol, not of a packet. Each connection is given one of these ways, by turns, until `cuts` came
to pass:

| way | when |
|---|---|
| `greeting` | at once, the first time |
| `client` | after some bytes from the client, wherever that is: a login, a list, a literal |
| `server` | after some bytes from the server, in the middle of an answer |
| `literal` | in the middle of a literal of an APPEND, which the server never gets whole |
| `sent` | when an APPEND was passed on whole; the server goes on, its answer goes nowhere |
| `answer` | when the server answered an APPEND, which the client does not see |
| `late` | as `sent`, but the end of the APPEND reaches the server only a third of a second later |

No TLS and no compression: what offers them is made unreadable in the server's capabilities.
"""

from __future__ import annotations

import collections
import contextlib
import random
import re
import socket
import threading
import time

WAYS = ("sent", "literal", "answer", "client", "late", "server", "greeting")
# How long the end of a command is on its way after the line was cut.
LATE = 0.3
# How long a server may go on with what it got; nobody hears what it says.
LINGER = 5
# Of one length each: offsets in the stream stay as they are.
_HIDDEN = {b"COMPRESS=DEFLATE": b"XCOMPRES=DEFLATE", b"STARTTLS": b"XTARTTLS"}


class Commands:
    """Follows what a client sends: where commands and the literals of an APPEND begin and end."""

    def __init__(self) -> None:
        self.appends = 0
        self.literals = 0
        self.tags: set[bytes] = set()
        self._line = b""
        self._literal = 0
        self._appending = False

    def split(self, data: bytes) -> list[tuple[str, bytes]]:
        """`data` in parts: a `literal` of an APPEND, an `append` that ends one, or `other`."""
        parts = []
        while data:
            if self._literal:
                part, data = data[: self._literal], data[self._literal :]
                self._literal -= len(part)
                parts.append(("literal" if self._appending else "other", part))
                continue
            line, end, rest = data.partition(b"\n")
            part, data = line + end, rest
            self._line += part
            parts.append((self._end_of_line() if end else "other", part))
        return parts

    def _end_of_line(self) -> str:
        line, self._line = self._line, b""
        begun = re.match(rb"(\S+) APPEND ", line, re.I)
        if begun:
            self._appending = True
            self.tags.add(begun[1])
        literal = re.search(rb"\{(\d+)\+?\}\r?\n$", line)
        if literal:
            self._literal = int(literal[1])
            self.literals += self._appending
            return "other"
        ended, self._appending = self._appending, False
        self.appends += ended
        return "append" if ended else "other"


class SeveredLine:
    """Listens on `port`, and passes what comes to `server` until it cuts."""

    def __init__(self, server: int, seed: int = 1, cuts: int = 0):
        self.done: collections.Counter[str] = collections.Counter()
        self._server = server
        self._lock = threading.Lock()
        self.plan(seed, cuts)

    def plan(self, seed: int, cuts: int) -> None:
        """Cuts `cuts` connections from now on, as `seed` says."""
        with self._lock:
            self._random = random.Random(seed)
            self._left = cuts
            self._turn = seed
            self._greeted = False

    def __enter__(self) -> SeveredLine:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._listener)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=_Connection(self, client).run, daemon=True).start()

    def next_cut(self) -> tuple[str, int, int]:
        """How the next connection is cut, after how many bytes, and at which APPEND."""
        with self._lock:
            way = WAYS[self._turn % len(WAYS)] if self._left else ""
            self._turn += 1
            # It comes to pass always, and would be most of the cuts.
            if way == "greeting" and self._greeted:
                way = "answer"
            self._greeted = self._greeted or way == "greeting"
            # From the first bytes of a login to the hundreds of KiB of a whole account.
            return way, int(10 ** self._random.uniform(0.5, 5.5)), self._random.randint(1, 4)

    def may_cut(self, way: str) -> bool:
        """Counts a cut, if one is left."""
        with self._lock:
            if not self._left:
                return False
            self._left -= 1
            self.done[way] += 1
            return True


class _Connection:
    """One connection of a client, on its way to the server."""

    def __init__(self, line: SeveredLine, client: socket.socket):
        self.line = line
        self.client = client
        self.way, self.bytes, self.number = line.next_cut()
        self.commands = Commands()
        self.passed = 0
        self.is_cut = False

    def run(self) -> None:
        """Passes on until one side ends or the line is cut."""
        if self.way == "greeting" and self.line.may_cut("greeting"):
            _close(self.client)
            return
        try:
            self.server = socket.create_connection(("127.0.0.1", self.line._server))
        except OSError:
            _close(self.client)
            return
        back = threading.Thread(target=self._from_server, daemon=True)
        back.start()
        with contextlib.suppress(OSError):
            while not self.is_cut and (data := self.client.recv(16384)):
                for kind, part in self.commands.split(data):
                    if not self._pass(kind, part):
                        break
        _close(self.client)
        if self.is_cut and self.way in ("sent", "late"):
            back.join(LINGER)
        _close(self.server)

    def _cut(self) -> bool:
        self.is_cut = self.is_cut or self.line.may_cut(self.way)
        return self.is_cut

    def _pass(self, kind: str, part: bytes) -> bool:
        """Passes a part on; false when the line is cut."""
        if self.way == "client" and self.passed + len(part) > self.bytes and self._cut():
            self.server.sendall(part[: self.bytes - self.passed])
            return False
        self.passed += len(part)
        if self.way == "literal" and kind == "literal" and self.commands.literals >= self.number and self._cut():
            self.server.sendall(part[: len(part) // 2])
            return False
        if kind == "append" and self.way in ("sent", "late") and self._cut():
            # The client's side goes first, so that it can be back before the server is done.
            _close(self.client)
            if self.way == "late":
                time.sleep(LATE)
            self.server.sendall(part)
            return False
        self.server.sendall(part)
        return True

    def _from_server(self) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := self.server.recv(16384):
                if self.is_cut:
                    continue
                for word, hidden in _HIDDEN.items():
                    data = data.replace(word, hidden)
                if self.way == "server" and passed + len(data) > self.bytes and self._cut():
                    self.client.sendall(data[: self.bytes - passed])
                    break
                answers = re.findall(rb"^(\S+) (?:OK|NO|BAD)\b", data, re.M)
                if self.way == "answer" and self.commands.tags.intersection(answers) and self._cut():
                    break
                passed += len(data)
                self.client.sendall(data)
        _close(self.client)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
