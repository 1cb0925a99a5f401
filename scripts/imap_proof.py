#!/usr/bin/env python3
"""Proves that `restante sync` hands mail back to a real IMAP server once and whole, whatever happens.

    scripts/imap_proof.py CASE TRUTH.json --server dovecot|mdbox|cyrus [--cuts N] [--kills N]
        [--seed S] [--connections N] [--beside] [--restante PROGRAM]

CASE is a case whose mail is ready to be handed back; its ledger is moved away first. A new server
(scripts/imap_server.py) takes it through a line that is severed N times (scripts/lab/severed.py) while
the program is killed N times, at moments that the seed chooses. With `--beside` a client of each
account works meanwhile: it delivers mail, and moves, deletes and flags what was restored. Then an
independent client (Python's imaplib) reads all accounts, and a JSON document says what it saw:

| field | what |
|---|---|
| `added` | what the program says that it added, in all runs that ended |
| `shown` | messages below restored_emails, apart from `Damaged`, and from deleted ones in `Recovered` |
| `exact` | those of them that are as the truth has them: account, folder, content, flags, keywords, INTERNALDATE |
| `changed` | those that differ from the truth by their content alone (Cyrus writes X for bytes beyond ASCII in a header) |
| `told` | messages that the program named as refused or changed |
| `missing`, `twice`, `strange`, `unsubscribed` | must be 0: not there, there more often than it was, of no message of the truth, folders that hold mail |
| `again` | what a last run added, and one without its ledger; must be 0 |
| `returned` | messages that the client moved or deleted, and that came back; must be 0 |
| `cuts`, `kills` | how often, by way |

`flags` and `keywords` are compared where the truth knows them. Exit 1 if a field that must be 0 is not.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import imaplib
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

from dovecot_read import describe
from lab import dovecot
from lab.severed import SeveredLine

TOP = "restored_emails"
MUST_BE_ZERO = ("missing", "twice", "strange", "unsubscribed", "again", "returned")
# What is left to be done after so many runs never gets done.
MOST_RUNS = 8


class Account(dovecot.Reading, imaplib.IMAP4):
    """A session of one account over the network, for which a master user logs in."""

    def __init__(self, ready: dict, name: str):
        super().__init__("127.0.0.1", ready["imap"], timeout=60)
        master = ready["master"]
        if master["for"] == "authzid":
            text = f"{name}\0{master['user']}\0{master['password']}"
        else:
            text = f"\0{name}{master['separator']}{master['user']}\0{master['password']}"
        self.ok(self.authenticate("PLAIN", lambda _: text.encode()))

    def restored(self) -> list[tuple[str, str]]:
        """The restored folders: the server's name, and the one in the truth's form."""
        found = []
        for name in self.folders():
            plain = name.removeprefix("INBOX.").replace("/", ".")
            if plain == TOP or plain.startswith(TOP + "."):
                found.append((name, plain.removeprefix(TOP).lstrip(".") or "INBOX"))
        return found

    def messages(self, folder: str) -> list[dict]:
        """All messages of a folder; the folder stays open to be read."""
        self.ok(self.select(dovecot.quote(folder), readonly=True))
        items = self.ok(self.uid("FETCH", "1:*", "(FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])"))
        return [describe(item) for item in items if isinstance(item, tuple)]


@contextlib.contextmanager
def server(kind: str, folder: pathlib.Path, accounts: list[str]) -> Iterator[dict]:
    """A new server; what it says when it is ready."""
    what = {"dovecot": ["dovecot"], "mdbox": ["dovecot", "--mdbox"], "cyrus": ["cyrus", "--alt"]}[kind]
    users = [word for account in accounts for word in ("--user", account)]
    script = pathlib.Path(__file__).with_name("imap_server.py")
    argv = [sys.executable, script, what[0], folder, *what[1:], *users]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(process.stdout.readline() or "{}")
    except (imaplib.IMAP4.error, dovecot.DovecotError):
        log = folder / "log"
        print(log.read_text(errors="replace")[-4000:] if log.exists() else "no log", file=sys.stderr)
        raise
    finally:
        process.stdin.close()
        process.wait()


class Program:
    """`restante sync` of one case to one port."""

    def __init__(self, arguments: argparse.Namespace, ready: dict, port: int, scratch: pathlib.Path):
        credentials = scratch / "credentials.json"
        credentials.touch(mode=0o600)
        credentials.write_text(json.dumps({"master": ready["master"]}))
        self.case: pathlib.Path = arguments.case
        self.argv = [arguments.restante, "sync", self.case, "--json", "--to", f"imap://127.0.0.1:{port}",
                     "--credentials", credentials, "--connections", str(arguments.connections)]  # fmt: skip
        self.added = 0
        self.told: set[str] = set()

    def run(self, kill_after: float | None = None) -> dict | None:
        """One run; what it said, or nothing where it was killed."""
        process = subprocess.Popen(self.argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, err = process.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None
        if process.returncode not in (0, 1) or not out:
            raise SystemExit(f"imap_proof: {self.argv} ended with {process.returncode}: {err}")
        said = json.loads(out)
        self.added += said["totals"]["added"]
        self.told.update(failure for account in said["accounts"].values() for failure in account["failures"])
        return said

    def forget(self) -> None:
        """Loses the ledger."""
        shutil.rmtree(self.case / "ledger", ignore_errors=True)


class Owner(threading.Thread):
    """A user of each account, at work while mail is handed back."""

    def __init__(self, ready: dict, accounts: list[str]):
        super().__init__(daemon=True)
        self.ready = ready
        self.accounts = accounts
        self.over = threading.Event()
        self.seen: set[tuple[str, str]] = set()
        self.gone: list[tuple[str, str, str]] = []
        self.flagged: set[tuple[str, str, str]] = set()
        self.delivered = 0
        self.error: Exception | None = None

    def deliver(self, session: Account) -> None:
        """Delivers a message into INBOX."""
        text = f"Subject: new {self.delivered}\r\n\r\nDelivered while mail is handed back.\r\n"
        session.ok(session.append("INBOX", "", imaplib.Time2Internaldate(time.time()), text.encode()))
        self.delivered += 1

    def begin(self) -> None:
        """Uses every account once: Dovecot makes an account when it is first used, and not by two at once."""
        for account in self.accounts:
            with Account(self.ready, account) as session:
                self.deliver(session)
        self.start()

    def run(self) -> None:
        """Rounds until it is over, and one more."""
        try:
            while True:
                is_last = self.over.is_set()
                for account in self.accounts:
                    with Account(self.ready, account) as session:
                        self._round(session, account)
                if is_last:
                    return
        except Exception as error:  # noqa: BLE001 (the main thread raises it)
            self.error = error

    def _round(self, session: Account, account: str) -> None:
        self.deliver(session)
        for name, plain in session.restored():
            if (account, plain) not in self.seen and plain != "Damaged":
                self._tidy(session, account, name, plain)

    def _tidy(self, session: Account, account: str, name: str, plain: str) -> None:
        """Moves one message, deletes one, flags one: once, when the folder has four."""
        messages = session.messages(name)
        if len(messages) < 4:
            return
        self.seen.add((account, plain))
        session.ok(session.select(dovecot.quote(name)))
        # Mail that came with this flag would go with the others.
        session.ok(session.store("1:*", "-FLAGS", r"(\Deleted)"))
        moved, deleted, flagged = messages[:3]
        session.ok(session.uid("COPY", str(moved["uid"]), "INBOX"))
        session.ok(session.uid("STORE", f"{moved['uid']},{deleted['uid']}", "+FLAGS", r"(\Deleted)"))
        session.ok(session.expunge())
        session.ok(session.uid("STORE", str(flagged["uid"]), "+FLAGS", r"(\Flagged \Seen)"))
        self.gone += [(account, plain, message["sha256"]) for message in (moved, deleted)]
        self.flagged.update((account, plain, message["sha256"]) for message in messages)


def key(account: str, folder: str, message: dict, exact: bool = True) -> tuple:
    """What a message is compared by; without `exact` not by its content."""
    date = message.get("internaldate", message.get("date"))
    flags, keywords = message.get("flags"), message.get("keywords")
    return (account, folder, message["sha256"] if exact else "", flags, tuple(sorted(keywords or ())), date)


class Truth:
    """What must be there, and what may."""

    def __init__(self, path: pathlib.Path):
        self.messages = json.loads(path.read_text())["messages"]
        for message in self.messages:
            # Where the flags are not told, the file's name in a Maildir has them.
            if "flags" not in message and (name := message.get("file", "")).count(":2,") == 1:
                message["flags"] = "".join(letter for letter in name.split(":2,")[1] if letter in "DFRST")
        self.accounts = sorted({message["account"] for message in self.messages})
        self.fields = [name for name in ("flags", "keywords") if all(name in message for message in self.messages)]

    def known(self, message: dict) -> dict:
        """A message of the server with what the truth does not know left out."""
        return {name: value for name, value in message.items() if name in self.fields or name not in ("flags", "keywords")}

    def compare(self, shown: list[tuple[str, str, dict]], owner: Owner | None) -> dict:
        """The fields of the document that compare."""
        # The folder of a deleted message may be unknown: then it comes back into one of its own.
        deleted = {(m["account"], m["sha256"]) for m in self.messages if m.get("deleted")}
        shown = [one for one in shown if one[1] != "Recovered" or (one[0], one[2]["sha256"]) not in deleted]
        undated = {m["sha256"] for m in self.messages if m["date"] is None}
        gone = collections.Counter(owner.gone if owner else ())
        loose = owner.flagged if owner else set()

        def of(account: str, folder: str, message: dict, exact: bool = True) -> tuple:
            # Whoever tidied a folder changed flags in it.
            touched = (account, folder, message["sha256"]) in loose
            plain = {**message, "flags": None} if touched else message
            if message["sha256"] in undated:
                plain = {**plain, "internaldate": None, "date": None}
            return key(account, folder, self.known(plain), exact)

        have = collections.Counter(of(*one) for one in shown)
        may = collections.Counter(of(m["account"], m["folder"].replace("/", "."), m) for m in self.messages)
        must = {}
        for m in self.messages:
            place = (m["account"], m["folder"].replace("/", "."), m["sha256"])
            if not m.get("deleted") and m.get("survives", "full") == "full" and not gone[place]:
                must[of(place[0], place[1], m)] = m
        bare = lambda identity: (*identity[:2], *identity[3:])  # noqa: E731
        strange = collections.Counter({one: count for one, count in have.items() if one not in may})
        missing = [one for one in must if one not in have]
        # What the server changed is strange by its content, and so is missing as it was.
        pairs = collections.Counter(map(bare, strange.elements())) & collections.Counter(map(bare, missing))
        # Of a deleted one whose folder is not known the account and the time are left.
        when = lambda identity: (identity[0], identity[-1])  # noqa: E731
        recovered = collections.Counter(when(one) for one in strange.elements() if one[1] == "Recovered")
        pairs_of_deleted = recovered & collections.Counter(when(one) for one in may if one not in must)
        changed_deleted = sum(pairs_of_deleted.values())
        changed = sum(pairs.values())
        return {
            "shown": len(shown),
            "exact": sum(min(count, may[one]) for one, count in have.items()),
            "changed": changed + changed_deleted,
            "missing": len(missing) - changed,
            "twice": sum(max(0, count - may[one]) for one, count in have.items() if one in may),
            "strange": strange.total() - changed - changed_deleted,
            "returned": sum(1 for account, folder, message in shown if (account, folder, message["sha256"]) in gone),
        }


def read_all(ready: dict, accounts: list[str]) -> tuple[list[tuple[str, str, dict]], int]:
    """All restored messages as (account, folder, message), and how many folders are not subscribed."""
    shown, unsubscribed = [], 0
    for account in accounts:
        with Account(ready, account) as session:
            subscribed = set(session.subscriptions())
            for name, plain in session.restored():
                messages = session.messages(name)
                unsubscribed += bool(messages) and name not in subscribed
                if plain != "Damaged":
                    shown += [(account, plain, message) for message in messages]
    return shown, unsubscribed


def disturb(program: Program, line: SeveredLine, arguments: argparse.Namespace) -> int:
    """Runs until all is done, though the line is severed and the program is killed: how often that was."""
    chance = random.Random(arguments.seed)
    line.plan(arguments.seed, arguments.cuts)
    killed = 0
    for _ in range(arguments.kills):
        # The first moments are those of the plan; what is handed back comes after.
        if program.run(kill_after=10 ** chance.uniform(-1.3, 0.3)) is None:
            killed += 1
    for _ in range(MOST_RUNS):
        said = program.run()
        planned = said["totals"]["planned"]
        failures = sum(len(account["failures"]) for account in said["accounts"].values())
        if planned["whole"] + planned["damaged"] <= said["totals"]["added"] + failures:
            break
    return killed


def prove(arguments: argparse.Namespace, scratch: pathlib.Path) -> dict:
    """The document described at the head of this file."""
    truth = Truth(arguments.truth)
    with contextlib.ExitStack() as stack:
        ready = stack.enter_context(server(arguments.server, scratch / "server", truth.accounts))
        line = stack.enter_context(SeveredLine(ready["imap"]))
        program = Program(arguments, ready, line.port, scratch)
        program.forget()
        owner = Owner(ready, truth.accounts) if arguments.beside else None
        if owner:
            owner.begin()
        killed = disturb(program, line, arguments)
        if owner:
            owner.over.set()
            owner.join()
            if owner.error:
                raise owner.error
        again = program.run()["totals"]["added"]
        if not owner:
            # What a user deleted comes back without the ledger; all else is known by its content.
            program.forget()
            again += program.run()["totals"]["added"]
        shown, unsubscribed = read_all(ready, truth.accounts)
        found = truth.compare(shown, owner)
        more = {"owner": {"gone": len(owner.gone), "delivered": owner.delivered}} if owner else {}
        return {
            "server": arguments.server,
            "added": program.added,
            **found,
            "told": len({match[0] for told in program.told if (match := re.search(r"[0-9a-f]{16,}", told))}),
            "unsubscribed": unsubscribed,
            "again": again,
            "cuts": dict(sorted(line.done.items())),
            "kills": killed,
            **more,
            "state": hashlib.sha256(repr(sorted(map(repr, shown))).encode()).hexdigest()[:16],
        }


def main() -> int:
    """Prints the document; 1 when something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("case", type=pathlib.Path)
    parser.add_argument("truth", type=pathlib.Path)
    parser.add_argument("--server", choices=["dovecot", "mdbox", "cyrus"], required=True)
    parser.add_argument("--cuts", type=int, default=0)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--beside", action="store_true")
    parser.add_argument("--restante", default="restante", help="the program")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imap-proof-") as folder:
        scratch = pathlib.Path(folder)
        # The servers drop privileges, and must reach what is theirs.
        scratch.chmod(0o755)
        found = prove(arguments, scratch)
    print(json.dumps(found, indent=1))
    return 1 if any(found[name] for name in MUST_BE_ZERO) else 0


if __name__ == "__main__":
    sys.exit(main())
