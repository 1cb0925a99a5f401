#!/usr/bin/env python3
"""Lists a Maildir as a real Dovecot shows it to mail programs: JSON on standard output.

    scripts/dovecot_read.py DIR [--layout fs] [--in-place]

DIR is one account's Maildir. It is copied first, since Dovecot writes indexes and moves
mail from new/ to cur/; `--in-place` lets it do that to DIR itself, as live use would.

    {"folders": [{"name": "restored_emails", "subscribed": true, "messages": [
        {"uid": 1, "flags": "RS", "keywords": ["invoice"], "internaldate": 1325376000,
         "size": 2285, "sha256": "…", "sha256_crlf": "…"}]}],
     "errors": []}

`flags` are Maildir letters; `internaldate` is in seconds since 1970; `size` is RFC822.SIZE
(with CRLF); `sha256` is of the whole message with LF line ends, as a Maildir stores it,
`sha256_crlf` of the bytes on the wire. A folder that Dovecot refuses (a wrong `S=` in a
file name makes it drop the session) stands in `errors`, and the exit is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import imaplib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from lab import dovecot

LETTERS = {name.lower(): letter for letter, name in dovecot.FLAGS.items()}


@contextlib.contextmanager
def readable(maildir: pathlib.Path, in_place: bool) -> Iterator[pathlib.Path]:
    """The folder that Dovecot works on: a copy that goes away, or `maildir` itself."""
    if in_place:
        yield maildir.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="dovecot-read-") as scratch:
        copy = pathlib.Path(scratch) / "Maildir"
        subprocess.run(["cp", "-a", "--", maildir, copy], check=True)
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "65534:65534", scratch], check=True)
        yield copy


def read_folder(imap: dovecot.Mailbox, name: str) -> list[dict]:
    """All messages of one folder in the order of their UIDs."""
    imap.ok(imap.select(dovecot.quote(name), readonly=True))
    found = imap.ok(imap.uid("FETCH", "1:*", "(FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])"))
    messages = []
    for item in found:
        if isinstance(item, tuple):
            messages.append(describe(item))
    return sorted(messages, key=lambda message: message["uid"])


def describe(item: tuple[bytes, bytes]) -> dict:
    """One FETCH answer; all items but the body stand before the literal."""
    head, wire = item
    words = re.search(rb"FLAGS \(([^)]*)\)", head)[1].decode().split()
    date = imaplib.Internaldate2tuple(head)
    return {
        "uid": int(re.search(rb"UID (\d+)", head)[1]),
        "flags": "".join(sorted(LETTERS[word.lower()] for word in words if word.lower() in LETTERS)),
        "keywords": sorted(word for word in words if not word.startswith("\\")),
        # Internaldate2tuple gives local time.
        "internaldate": None if date is None else int(time.mktime(date)),
        "size": int(re.search(rb"RFC822.SIZE (\d+)", head)[1]),
        "sha256": hashlib.sha256(wire.replace(b"\r\n", b"\n")).hexdigest(),
        "sha256_crlf": hashlib.sha256(wire).hexdigest(),
    }


def read(maildir: pathlib.Path, layout: str = "", in_place: bool = False) -> dict:
    """The document described at the head of this file."""
    out: dict = {"folders": [], "errors": []}
    with readable(maildir, in_place) as work:
        location = f"maildir:{work}" + (f":LAYOUT={layout}" if layout else "")
        with open_mailbox(work, location) as imap:
            names = imap.folders()
            subscribed = set(imap.subscriptions())
        for name in names:
            entry: dict = {"name": name, "subscribed": name in subscribed, "messages": []}
            out["folders"].append(entry)
            # A session for each folder: a refused message ends the session.
            try:
                with open_mailbox(work, location) as imap:
                    entry["messages"] = read_folder(imap, name)
            except (imaplib.IMAP4.error, dovecot.DovecotError) as refusal:
                out["errors"].append({"folder": name, "error": str(refusal), "log": imap.log()})
    return out


def open_mailbox(work: pathlib.Path, location: str) -> dovecot.Mailbox:
    """A session as the owner of `work`."""
    owner = os.stat(work)
    return dovecot.Mailbox(work.parent, location, uid=owner.st_uid)


def main() -> int:
    """Prints the document; 1 when a folder could not be read whole."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("maildir", type=pathlib.Path)
    parser.add_argument("--layout", default="", choices=["", "fs"])
    parser.add_argument("--in-place", action="store_true")
    arguments = parser.parse_args()
    if not arguments.maildir.is_dir():
        parser.error(f"{arguments.maildir} is no folder")
    try:
        found = read(arguments.maildir, arguments.layout, arguments.in_place)
    except dovecot.DovecotError as error:
        print(f"dovecot_read: {error}", file=sys.stderr)
        return 1
    json.dump(found, sys.stdout, indent=1)
    print()
    return 1 if found["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
