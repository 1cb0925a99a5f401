#!/usr/bin/env python3
"""Makes fixtures/courier: a Maildir of a real Courier IMAP of Debian.

    scripts/make-courier-fixture.py [OUT]          # default fixtures/courier

Courier conflicts with Dovecot as a package, so its packages are only unpacked, and its imapd is run
over a pipe, already logged in. Leaves OUT/stores.tar.zst with one home, `courier`, and
OUT/manifest.json with what IMAP says of each message.
"""

from __future__ import annotations

import datetime
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

from lab import mail

PACKAGES = ["courier-imap", "courier-base", "courier-authlib", "libcourier-unicode4", "libgamin0", "libidn12"]
ACCOUNT = "ada@tidewater.example"
FOLDERS = ["INBOX", "INBOX", "INBOX.Sent", "INBOX.Archive.2014", "INBOX.Entw&APw-rfe"]
FLAGS = {"S": r"\Seen", "R": r"\Answered", "F": r"\Flagged", "D": r"\Draft", "T": r"\Deleted"}


class Courier(imaplib.IMAP4):
    """A session over a pipe."""

    def __init__(self, root: pathlib.Path, home: pathlib.Path):
        libraries = ":".join(str(root / place) for place in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib"))
        self._environment = {
            "LD_LIBRARY_PATH": libraries,
            "AUTHENTICATED": "ada",
            "HOME": str(home),
            "PATH": "/usr/bin:/bin",
            "IMAP_CAPABILITY": "IMAP4rev1 UIDPLUS",
            "IMAP_KEYWORDS": "1",
        }
        self._root, self._home = root, home
        for place in ("cur", "new", "tmp"):
            (home / "Maildir" / place).mkdir(parents=True)
        super().__init__()

    def open(self, host="", port=0, timeout=None):
        """Starts the process; imaplib calls this in place of a connect."""
        pipe = subprocess.PIPE
        program = self._root / "usr/bin/imapd"
        self._process = subprocess.Popen(
            [program, "Maildir"], cwd=self._home, env=self._environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
        )
        # Without a service that tells of changes it greets with an alert first.
        self._first = True

    def read(self, size):
        """Reads `size` bytes of an answer."""
        return self._process.stdout.read(size)

    def readline(self):
        """Reads one line of an answer."""
        line = self._process.stdout.readline()
        if self._first and b"ALERT" in line:
            line = self._process.stdout.readline()
        self._first = False
        return line

    def send(self, data):
        """Sends a part of a command."""
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def shutdown(self):
        """Ends the process."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def ok(self, answer: tuple[str, list]) -> list:
        """The data of an answer that must be OK."""
        if answer[0] != "OK":
            raise SystemExit(f"{answer}")
        return answer[1]


def main() -> None:
    """Fills a Maildir, reads it back and packs it."""
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "fixtures/courier")
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch) / "root"
        root.mkdir()
        subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=root, check=True, stderr=subprocess.DEVNULL)
        for deb in root.glob("*.deb"):
            subprocess.run(["dpkg", "-x", deb, root], check=True)
        home = pathlib.Path(scratch) / "stores/courier"
        home.mkdir(parents=True)
        imap = Courier(root, home)
        for folder in ["INBOX.Sent", "INBOX.Archive", "INBOX.Archive.2014", "INBOX.Entw&APw-rfe"]:
            imap.ok(imap.create(f'"{folder}"'))
        writer = mail.Writer(59, attachment=(1500, 4000))
        for number, kind in enumerate(mail.KINDS):
            when = 1_325_376_000 + number * 86_399
            raw = writer.message("hiro@customer.example", ACCOUNT, when, kind=kind, delivered=True)
            flags = [FLAGS[letter] for letter in ["", "S", "RS", "FS", "T", "D"][number % 6]] + ["invoice"] * (number % 2)
            date = imaplib.Time2Internaldate(datetime.datetime.fromtimestamp(when, datetime.UTC))
            folder = FOLDERS[number % len(FOLDERS)]
            imap.ok(imap.append(f'"{folder}"', f"({' '.join(flags)})", date, raw.replace(b"\n", b"\r\n")))
        rows = []
        for folder in sorted(set(FOLDERS)):
            imap.ok(imap.select(f'"{folder}"'))
            for item in imap.ok(imap.uid("FETCH", "1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")):
                if isinstance(item, tuple):
                    words = re.search(rb"FLAGS \((.*?)\)", item[0])[1].decode().split()
                    plain = item[1].replace(b"\r\n", b"\n")
                    rows.append(
                        {
                            "folder": folder.removeprefix("INBOX.") or "INBOX",
                            "uid": int(re.search(rb"UID (\d+)", item[0])[1]),
                            "date": int(time.mktime(imaplib.Internaldate2tuple(item[0]))),
                            "flags": "".join(sorted(letter for letter, word in FLAGS.items() if word in words)),
                            "keywords": sorted(word for word in words if not word.startswith("\\")),
                            "size": len(plain),
                            "sha256": hashlib.sha256(plain).hexdigest(),
                        }
                    )
        imap.logout()
        out.mkdir(parents=True, exist_ok=True)
        pack = "tar --sort=name --owner=0 --group=0 --numeric-owner -cf - ."
        target = out.resolve() / "stores.tar.zst"
        subprocess.run(f"{pack} | zstd -q -19 -f -o {target}", shell=True, check=True, cwd=home.parent)
    lines = ",\n".join(json.dumps(row) for row in rows)
    (out / "manifest.json").write_text(f'{{"courier": [\n{lines}\n]}}\n')
    print(f"{len(rows)} messages", file=sys.stderr)


if __name__ == "__main__":
    main()
