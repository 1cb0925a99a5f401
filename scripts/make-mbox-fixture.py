#!/usr/bin/env python3
"""Makes fixtures/mbox: mail full of lines that begin with `From `, in every kind of mbox.

    scripts/make-mbox-fixture.py [OUT]          # default fixtures/mbox

Leaves OUT/home.tar.zst, a home with a file a kind in `mail`, and OUT/manifest.json with the
SHA-256 of each message of each file, with LF line ends, and who says so: `dovecot`, over IMAP, or
`written`, what this script put in. The latter are files that Dovecot takes apart in the wrong place,
and one whose last line end it takes for the empty line behind a message.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import mailbox
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from lab import dovecot

STAMP = b"From ada@tidewater.example Sun Jan 01 00:00:00 2012\n"
HEAD = b"From: Ada <ada@tidewater.example>\nTo: hiro@customer.example\nSubject: %s\nMessage-ID: <%d@tidewater.example>\n"
BODIES = {
    "plain": b"The ferry leaves at nine.\n",
    "prose": b"From now on we meet on Sunday.\n\nFrom there we go on foot.\n",
    "stamp": b"What the log says:\n\n" + STAMP + b"and nothing else of note.\n",
    "quoted": b">From the start it was wet.\n>>From what I hear, wetter.\n\nFrom here on, dry.\n",
    "blank": b"\n\n\nThree empty lines before, three behind.\n\n\n\n",
    "forward": b"I got this:\n\n" + STAMP + HEAD % (b"inner", 99) + b"\nWords of another.\n",
    "tail": b"It ends in an empty line.\n\n",
}
# A multipart message that is open where the look of a postmark and a header stands.
PARTS = (
    b'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b1"\n\n--b1\nContent-Type: text/plain\n\nSee below.\n--b1\n'
    b"Content-Type: text/plain\n\nAn mbox:\n\n" + STAMP + HEAD % (b"inner", 98) + b"\nWords.\n--b1--\n"
)


def messages(names: list[str]) -> list[bytes]:
    """A message for each body."""
    out = [HEAD % (name.encode(), number) + b"\n" + BODIES[name] for number, name in enumerate(names)]
    return [*out, HEAD % (b"parts", 50) + PARTS]


def quote(raw: bytes, pattern: bytes) -> bytes:
    """The message with its body quoted."""
    head, _, body = raw.partition(b"\n\n")
    return head + b"\n\n" + re.sub(pattern, rb">\g<0>", body, flags=re.M)


def measured(raw: bytes) -> bytes:
    """The message with the length of its body in its header."""
    head, _, body = raw.partition(b"\n\n")
    return head + b"\nContent-Length: %d\n\n" % len(body) + body


def joined(parts: list[bytes]) -> bytes:
    """Messages with a postmark before and an empty line behind each."""
    return b"".join(STAMP + raw + b"\n" for raw in parts)


def digests(parts: list[bytes]) -> list[str]:
    return [hashlib.sha256(raw).hexdigest() for raw in parts]


def by_python(path: pathlib.Path, parts: list[bytes]) -> None:
    """Python's own writer of mbox, which quotes as mboxo does."""
    box = mailbox.mbox(path)
    for raw in parts:
        message = mailbox.mboxMessage(raw)
        message.set_from("ada@tidewater.example Sun Jan 01 00:00:00 2012")
        message.set_flags("RF")
        box.add(message)
    box.close()


def read(home: pathlib.Path, folder: str) -> list[str]:
    """What Dovecot shows of a folder."""
    with dovecot.Mailbox(home, "mbox:~/mail:INBOX=~/mbox") as imap:
        imap.ok(imap.select(dovecot.quote(folder), readonly=True))
        rows = imap.ok(imap.uid("FETCH", "1:*", "(BODY.PEEK[])"))
        return digests([row[1].replace(b"\r\n", b"\n") for row in rows if isinstance(row, tuple)])


def main() -> None:
    """Makes the home in a temporary folder, then packs it."""
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "fixtures/mbox")
    everything = messages(list(BODIES))
    # What has no length and is not quoted can be told apart, all but a whole message in another.
    telling = messages([name for name in BODIES if name != "forward"])
    written = {
        "mboxrd": joined([quote(raw, rb"^>*From ") for raw in everything]),
        "mboxcl": joined([measured(quote(raw, rb"^From ")) for raw in everything]),
        "mboxcl2": joined([measured(raw) for raw in everything]),
        "crlf": joined([quote(raw, rb"^From ") for raw in everything]).replace(b"\n", b"\r\n"),
        "no-blank-at-end": joined([quote(raw, rb"^From ") for raw in everything])[:-1],
        "unfinished": joined(messages(["plain"])[:1])[:-2],
        "naive": joined(telling),
        "o-of-length": joined([quote(measured(raw), rb"^From ") for raw in everything]),
        "rd-of-length": joined([quote(measured(raw), rb"^>*From ") for raw in everything]),
    }
    quoted = [quote(raw, rb"^From ") for raw in everything]
    # mboxo loses which of two lines with `>From ` had it before: that message stays as it is.
    told = [quote(raw, rb"^From ") if raw.count(b">From ") == 2 else raw for raw in everything]
    whole = {"naive": telling, "no-blank-at-end": quoted, "o-of-length": told, "rd-of-length": everything}
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)
        home = pathlib.Path(scratch) / "home"
        folder = home / "mail"
        folder.mkdir(parents=True)
        by_python(folder / "mboxo", everything)
        contents = dict(written, mboxo=(folder / "mboxo").read_bytes())
        for suffix, pack in {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.items():
            contents[f"packed.{suffix}"] = pack(written["mboxcl2"])
        (home / "mbox").touch()
        subprocess.run(["chown", "-R", "65534:65534", home], check=True)
        with dovecot.Mailbox(home, "mbox:~/mail:INBOX=~/mbox") as imap:
            for number, raw in enumerate(everything):
                imap.deliver("INBOX", raw, 1_325_376_000 + number, ["", "S", "RS"][number % 3], ["invoice"] * (number % 2))
        # Only now: Dovecot numbers the messages of every file that it finds, where it thinks they are.
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        subprocess.run(["chown", "-R", "65534:65534", home], check=True)
        copy = pathlib.Path(scratch) / "copy"
        subprocess.run(["cp", "-a", home, copy], check=True)
        rows = {}
        for name in ["INBOX", "mboxo", *written]:
            if name in whole:
                rows[name] = {"by": "written", "messages": digests(whole[name])}
            else:
                rows[name] = {"by": "dovecot", "messages": read(copy, name)}
        # Of a compressed mbox Dovecot hides the last line end, and one in xz it does not open.
        for suffix in ("gz", "bz2", "xz"):
            rows[f"packed.{suffix}"] = {"by": "written", "messages": rows["mboxcl2"]["messages"]}
        out.mkdir(parents=True, exist_ok=True)
        pack = "tar --sort=name --owner=0 --group=0 --numeric-owner -cf - ."
        subprocess.run(f"{pack} | zstd -q -19 -f -o {out.resolve()}/home.tar.zst", shell=True, check=True, cwd=home)
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items()]
    (out / "manifest.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print({name: len(row["messages"]) for name, row in rows.items()}, file=sys.stderr)


if __name__ == "__main__":
    main()
