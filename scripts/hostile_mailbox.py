#!/usr/bin/env python3
"""Makes a disk with mailboxes that mean harm to whoever looks at them, by mke2fs.

    scripts/hostile_mailbox.py DISK

The disk is one ext4 with two accounts. Subjects, senders, names of folders and of files hold HTML, scripts,
control characters, ANSI escapes and marks that change the direction of writing; one header has a line of
10 MiB, one has 100,000 lines, one a single word without a space. Nothing in them is anybody's mail.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

ACCOUNT = "mallory@saltmarsh.example"
OTHER = "ada@saltmarsh.example"
TIME = 1_396_000_000

# What subjects, names of senders and folders are made of; each shows `seen` as text wherever it is shown.
TEXTS = [
    "<script>document.title='seen-script'</script>",
    "</title></style></bdi></td></table><h1>seen-markup</h1>",
    "<img src=https://saltmarsh.example/seen-image onerror=alert(1)>",
    "\" onmouseover=alert(1) x=\"seen-quote' onfocus=alert(1) autofocus",
    "<meta http-equiv=refresh content=0;url=https://saltmarsh.example/seen-refresh>",
    "\x1b[2J\x1b[31m\x1b]0;seen-title\x07\x1b[1;1Hseen-escape",
    "\u202eseen-override gpj.exe\u2066isolated\u2069\u200e\u200f",
    "seen-c1 \x9b31m\x85\x90q\x9c and \x7f\x08\x08\x08",
    "{{ 7 * 7 }}{% raw %}seen-template${7*7}<!-- -->]]>&amp;&#60;",
    "seen-" + "wide" * 400,
    "seen-zalgo " + "Z" + "\u0300\u0301\u0302\u0303" * 60,
    "=HYPERLINK(\"https://saltmarsh.example\";\"seen-formula\")",
]

# Names of folders, as Maildir++ writes them: whatever bytes are no slash.
FOLDERS = [
    "",
    ".<script>document.title='seen-folder'<&AC8-script>",
    ".Sent\x1b[2J\x1b]0;seen-title\x07\r",
    ".\u202eseen-override.&IC4-gpj",
    ".\" onmouseover=alert(1) x=\"",
    "." + "seen-long" * 20,
]


def message(subject: str, number: int, more: bytes = b"") -> bytes:
    """A message as a server that checks nothing stores it."""
    head = (
        f"Delivered-To: {ACCOUNT}\nFrom: {TEXTS[number % len(TEXTS)]} <x@saltmarsh.example>\n"
        f"To: {ACCOUNT}\nSubject: {subject}\nMessage-ID: <{number}@saltmarsh.example>\n"
        "Date: Fri, 28 Mar 2014 09:46:40 +0000\n"
    )
    return head.encode() + more + f"\nThe text of {number}.\n".encode()


def messages() -> list[tuple[bytes, bytes]]:
    """Contents, and what their names end with: a size that is not theirs makes one damaged."""
    found = [(message(text, number), b"") for number, text in enumerate(TEXTS)]
    # What was lost of a message is named in reports with its subject: here the end of each is missing.
    found += [(message(text, 100 + number), b",S=900000") for number, text in enumerate(TEXTS)]
    found.append((message("seen-10 MiB", 200, b"X-Long: " + b"A" * (10 << 20) + b"\n"), b""))
    found.append((message("seen-100,000 lines", 201, b"".join(b"X-%d: y\n" % n for n in range(100_000))), b""))
    found.append((message("seen-long-subject" + "S" * (1 << 20), 202), b""))
    return found


def write_folder(folder: bytes, found: list[tuple[bytes, bytes]]) -> None:
    """A folder of a Maildir with these messages."""
    for name in (b"cur", b"new", b"tmp"):
        os.makedirs(os.path.join(folder, name))
    for number, (content, ending) in enumerate(found):
        name = b"%d.M%dP1.mx%s:2,S" % (TIME + number, number, ending)
        path = os.path.join(folder, b"cur", name)
        with open(path, "wb") as file:
            file.write(content)
        os.utime(path, (TIME + number, TIME + number))
    # A name that is no Maildir's, and one that acts on a terminal.
    path = os.path.join(folder, b"cur", b"1.\x1b[31mseen-name\x1b[0m\n.<b>x:2,")
    with open(path, "wb") as file:
        file.write(found[0][0])
    os.utime(path, (TIME, TIME))


def main() -> int:
    """Writes the disk."""
    disk = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        home = pathlib.Path(scratch) / "srv/vmail/saltmarsh.example"
        found = messages()
        for number, folder in enumerate(FOLDERS):
            path = os.path.join(os.fsencode(home), b"mallory/Maildir", folder.encode())
            write_folder(path, found if number == 0 else found[: len(TEXTS)])
        write_folder(os.fsencode(home / "ada/Maildir"), [(message("Tides", 300), b"")])
        with disk.open("wb") as image:
            image.truncate(64 << 20)
        environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
        mkfs = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", scratch, disk]
        subprocess.run(mkfs, check=True, env=environment, stdout=subprocess.DEVNULL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
