#!/usr/bin/env python3
"""Makes fixtures/dbox: dboxes of a real Dovecot that were in use.

    scripts/make-dbox-fixture.py [OUT]          # default fixtures/dbox

Messages were flagged, copied, moved and expunged, indexes were rewritten and their logs rotated,
files purged, old mail moved to alternative storage. Leaves OUT/stores.tar.zst with one home a store
and OUT/manifest.json with what IMAP says of each message.
"""

from __future__ import annotations

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

from lab import dovecot, mail

ACCOUNT = "ada@tidewater.example"
FOLDERS = ["INBOX", "INBOX", "Sent", "Archive/2014", "Entw&APw-rfe"]
# Store: (mail_location, more lines for Dovecot's plugin block, whether it is purged, whether old mail is moved).
STORES = {
    "sdbox": ("sdbox:~/sdbox", "", False, False),
    "mdbox": ("mdbox:~/mdbox", "", False, False),
    "mdbox-purged": ("mdbox:~/mdbox", "", True, False),
    "mdbox-alt": ("mdbox:~/mdbox:ALT=~/alt/mdbox", "zlib_save = zstd", False, True),
    "sdbox-alt": ("sdbox:~/sdbox:ALT=~/alt/sdbox", "zlib_save = lz4", False, True),
}
LETTERS = {name.lower(): letter for letter, name in dovecot.FLAGS.items()}


class Eager(dovecot.Mailbox):
    """A session that rewrites its indexes at once."""

    def open(self, *arguments, **options):
        """Starts the process."""
        self._argv += ["-o", "mail_index_rewrite_min_log_bytes=1", "-o", "mail_index_rewrite_max_log_bytes=2"]
        super().open(*arguments, **options)

    def doveadm(self, *command: str) -> None:
        """Runs doveadm over the same store."""
        identity = {"user": self._uid, "group": self._uid, "extra_groups": []} if os.geteuid() == 0 else {}
        subprocess.run(["doveadm", "-c", self._argv[2], *command], env=self._environment, check=True, **identity)


def fill(imap: Eager) -> None:
    """Saves messages and then uses them."""
    writer = mail.Writer(53, attachment=(1500, 4000))
    for number, kind in enumerate(list(mail.KINDS) * 2):
        when = 1_325_376_000 + number * 86_399
        folder = FOLDERS[number % len(FOLDERS)]
        raw = writer.message("hiro@customer.example", ACCOUNT, when, kind=kind, delivered=True)
        imap.deliver(folder, raw, when, ["", "S", "RS", "FS", "", "D"][number % 6], [["invoice"], [], ["$Forwarded"]][number % 3])
    imap.ok(imap.select("INBOX"))
    for command in [
        ("STORE", "1:3", "+FLAGS", r"(\Flagged later)"),
        ("STORE", "2", "-FLAGS", r"(\Seen invoice)"),
        ("STORE", "3", "FLAGS", r"(\Answered only)"),
        ("COPY", "1,4", '"Archive/2014"'),
        ("MOVE", "5", '"Entw&APw-rfe"'),
        ("STORE", "2,6", "+FLAGS", r"(\Deleted)"),
        ("EXPUNGE", "2,6"),
    ]:
        imap.ok(imap.uid(*command))
    imap.ok(imap.unselect())


def read(home: pathlib.Path, location: str) -> list[dict]:
    """What IMAP says is there, over a copy."""
    found = []
    with tempfile.TemporaryDirectory(prefix="dbox-") as scratch:
        copy = pathlib.Path(scratch) / "home"
        subprocess.run(["cp", "-a", home, copy], check=True)
        subprocess.run(["chown", "-R", "65534:65534", scratch], check=True)
        with dovecot.Mailbox(copy, location) as imap:
            for folder in imap.folders():
                imap.ok(imap.select(dovecot.quote(folder), readonly=True))
                for item in imap.ok(imap.uid("FETCH", "1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")):
                    if isinstance(item, tuple):
                        found.append(describe(folder, item))
    return found


def describe(folder: str, item: tuple[bytes, bytes]) -> dict:
    """One FETCH answer."""
    words = re.search(rb"FLAGS \((.*?)\)", item[0])[1].decode().split()
    plain = item[1].replace(b"\r\n", b"\n")
    return {
        "folder": folder,
        "uid": int(re.search(rb"UID (\d+)", item[0])[1]),
        "date": int(time.mktime(imaplib.Internaldate2tuple(item[0]))),
        "flags": "".join(sorted(LETTERS[word.lower()] for word in words if word.lower() in LETTERS)),
        "keywords": sorted(word for word in words if not word.startswith("\\")),
        "size": len(plain),
        "sha256": hashlib.sha256(plain).hexdigest(),
    }


def main() -> None:
    """Makes all stores in a temporary folder, then packs them."""
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "fixtures/dbox")
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch) / "stores"
        root.mkdir()
        os.chmod(scratch, 0o755)
        for name, (location, plugin, purged, moved) in STORES.items():
            home = root / name
            home.mkdir()
            os.chown(home, 65534, 65534)
            with Eager(home, location, plugin=plugin) as imap:
                fill(imap)
                if moved:
                    imap.doveadm("altmove", "UID", "1:2")
                if purged:
                    imap.doveadm("purge")
            for path in home.rglob("*.cache"):
                path.unlink()
            rows[name] = read(home, location)
        out.mkdir(parents=True, exist_ok=True)
        pack = "tar --sort=name --owner=0 --group=0 --numeric-owner -cf - ."
        target = out.resolve() / "stores.tar.zst"
        subprocess.run(f"{pack} | zstd -q -19 --long=23 -f -o {target}", shell=True, check=True, cwd=root)
    lines = [f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(row) for row in found) + "\n]" for name, found in rows.items()]
    (out / "manifest.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print({name: len(found) for name, found in rows.items()}, file=sys.stderr)


if __name__ == "__main__":
    main()
