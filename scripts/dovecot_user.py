#!/usr/bin/env python3
"""Lives in a Maildir as its owner and the delivery agent do, by a real Dovecot: JSON on standard output.

    scripts/dovecot_user.py DIR --until FILE

Works on DIR itself until FILE is there, and then once more. Each round delivers one new message into INBOX, and
of each folder of restored_emails deletes the first message, moves the second one to the
folder Kept, and reads the third, as soon as there are some.

    {"rounds": 12, "delivered": ["sha256", …], "deleted": ["sha256", …], "moved": ["sha256", …], "log": ""}

`sha256` is of the message with LF line ends. `log` is what Dovecot complained about.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import sys
import time

from lab import dovecot


def fingerprint(wire: bytes) -> str:
    """The hash of a message as a Maildir stores it."""
    return hashlib.sha256(wire.replace(b"\r\n", b"\n")).hexdigest()


def fetch(imap: dovecot.Mailbox, number: int) -> str:
    """The fingerprint of one message of the selected folder."""
    answer = imap.ok(imap.fetch(str(number), "(BODY.PEEK[])"))
    return fingerprint(next(item[1] for item in answer if isinstance(item, tuple)))


def tidy(imap: dovecot.Mailbox, folder: str, done: dict) -> None:
    """What the owner does in one folder: once, when three messages are there."""
    if int(imap.ok(imap.select(dovecot.quote(folder)))[0]) < 3:
        return
    done["folders"].add(folder)
    done["deleted"].append(fetch(imap, 1))
    done["moved"].append(fetch(imap, 2))
    imap.ok(imap.copy("2", "Kept"))
    imap.ok(imap.store("3", "+FLAGS", r"(\Seen)"))
    # Mail that came with this flag would go with the others.
    imap.ok(imap.store("1:*", "-FLAGS", r"(\Deleted)"))
    imap.ok(imap.store("1:2", "+FLAGS", r"(\Deleted)"))
    imap.ok(imap.expunge())


def session(maildir: pathlib.Path) -> dovecot.Mailbox:
    """A session as the owner of `maildir`, at work on it itself."""
    return dovecot.Mailbox(maildir.parent, f"maildir:{maildir.resolve()}", uid=os.stat(maildir).st_uid)


def one_round(imap: dovecot.Mailbox, done: dict) -> None:
    """Delivers a message and tidies the folders that are there."""
    folders = imap.folders()
    if "Kept" not in folders:
        imap.ok(imap.create("Kept"))
    number = done["rounds"]
    text = f"Subject: new {number}\n\nDelivered while mail is restored.\n".encode()
    imap.deliver("INBOX", text, 1_400_000_000 + number)
    done["delivered"].append(fingerprint(text))
    for folder in folders:
        if folder.startswith("restored_emails") and folder not in done["folders"]:
            tidy(imap, folder, done)
    done["rounds"] += 1


def live(maildir: pathlib.Path, until: pathlib.Path) -> dict:
    """Rounds until `until` is there, and one more."""
    done: dict = {"rounds": 0, "delivered": [], "deleted": [], "moved": [], "folders": set(), "log": ""}
    is_last = False
    while not is_last:
        is_last = until.exists()
        if is_last:
            # Dovecot looks at a directory again when its time has changed by a second.
            time.sleep(2)
        # A session each, as of a client that comes back: within one, Dovecot lists no folder
        # that was made beside it.
        with session(maildir) as imap:
            one_round(imap, done)
            done["log"] += imap.log()
        time.sleep(0.02)
    done["folders"] = sorted(done["folders"])
    return done


def main() -> int:
    """Prints what was done."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("maildir", type=pathlib.Path)
    parser.add_argument("--until", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    try:
        json.dump(live(arguments.maildir, arguments.until), sys.stdout, indent=1)
    except dovecot.DovecotError as error:
        print(f"dovecot_user: {error}", file=sys.stderr)
        return 1
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
