#!/usr/bin/env python3
"""Ruins mail stores and scores what `restante` gets out of them.

    scripts/store_ruins.py [--restante PROGRAM] [--share 0.05] [--seed 1] IMAGE...

IMAGE is an ext4 file system with homes DOMAIN/LOCAL in it, each a store that Dovecot wrote
(Maildir, mdbox, sdbox or `mbox:~/mail:INBOX=~/mbox`). Each is tried four times: as it is, without
the store's indexes (deleted through a loop mount), with a share of the blocks of its files zeroed,
and with both. What is in the stores says Dovecot, over IMAP, before anything is ruined. A message
survives if no block that holds a part of it was zeroed; of an mbox the line before it counts, of a
dbox the header of its record.

One line a try: survivors, how many of them came back exact, how many of these in their folder,
how many files were handed over as whole and are none of the account's messages (`false`), and how
many as damaged. The exit is 1 if anything is false or a survivor is missing. Needs root.
"""

from __future__ import annotations

import argparse
import bz2
import collections
import contextlib
import hashlib
import json
import lzma
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator

from lab import dovecot

INDEXES = re.compile(r"(dovecot[.-].*|\.imap|maildirsize|courierimap.*)$")
LOCATIONS = {
    "Maildir": "maildir:~/Maildir",
    "mdbox": "mdbox:~/mdbox",
    "sdbox": "sdbox:~/sdbox",
    "mbox": "mbox:~/mail:INBOX=~/mbox",
}


@contextlib.contextmanager
def mounted(image: pathlib.Path, options: str) -> Iterator[pathlib.Path]:
    """The file system in `image`, mounted."""
    with tempfile.TemporaryDirectory(prefix="ruins-mount-") as point:
        subprocess.run(["mount", "-o", f"loop,{options}", image, point], check=True)
        try:
            yield pathlib.Path(point)
        finally:
            subprocess.run(["umount", point], check=True)


def homes(root: pathlib.Path) -> Iterator[tuple[str, pathlib.Path, str]]:
    """Account, home and kind of store."""
    for home in sorted(root.glob("*.*/*/")):
        for kind in LOCATIONS:
            if (home / kind).exists():
                yield f"{home.name}@{home.parent.name}", home, kind
                break


def fetch(home: pathlib.Path, kind: str) -> list[tuple[str, bytes]]:
    """Folder and bytes (LF line ends) of every message, from Dovecot's IMAP over a copy."""
    found = []
    with tempfile.TemporaryDirectory(prefix="ruins-home-") as scratch:
        copy = pathlib.Path(scratch) / "home"
        subprocess.run(["cp", "-a", home, copy], check=True)
        subprocess.run(["chown", "-R", "65534:65534", scratch], check=True)
        with dovecot.Mailbox(copy, LOCATIONS[kind]) as imap:
            for folder in imap.folders():
                imap.ok(imap.select(dovecot.quote(folder), readonly=True))
                for item in imap.ok(imap.uid("FETCH", "1:*", "(BODY.PEEK[])")):
                    if isinstance(item, tuple):
                        found.append((folder.replace("/", "."), item[1].replace(b"\r\n", b"\n")))
    return found


def unpacked(stored: bytes) -> bytes:
    """What a compressed file holds."""
    if stored.startswith(b"\x1f\x8b"):
        return zlib.decompress(stored, 31)
    if stored.startswith(b"BZh"):
        return bz2.decompress(stored)
    return lzma.decompress(stored) if stored.startswith(b"\xfd7zXZ") else stored


class Places:
    """Where in the files of a home messages lie."""

    def __init__(self, home: pathlib.Path, kind: str):
        self.kind = kind
        paths = [path for path in home.rglob("*") if path.is_file() and not INDEXES.match(path.name)]
        self.files = {path: path.read_bytes() for path in paths if "/.imap/" not in str(path)}
        if kind == "Maildir":
            self.whole = {unpacked(stored): path for path, stored in self.files.items()}

    def of(self, raw: bytes) -> tuple[pathlib.Path, int, int] | None:
        """The file, and the first byte and the one behind the last that must be there."""
        if self.kind == "Maildir":
            path = self.whole.get(raw)
            return path and (path, 0, len(self.files[path]))
        head, _, body = raw.partition(b"\n\n")
        first = head.split(b"\n")[0] + b"\n"
        for path, stored in self.files.items():
            if self.kind != "mbox":
                at = stored.find(raw)
                if at >= 0:
                    return path, at - 30, at + len(raw)  # with the header of the record
                continue
            at = stored.find(b"\n\n" + body)
            while at >= 0:
                header = stored.rfind(first, 0, at + 1)
                start = stored.rfind(b"From ", 0, header) if header >= 0 else -1
                if start >= 0 and header - start < 200 and head.split(b"\n")[-1] in stored[header:at]:
                    return path, start, at + 2 + len(body)
                at = stored.find(b"\n\n" + body, at + 1)
        return None


def blocks(path: pathlib.Path, size: int) -> dict[int, int]:
    """Number of a block of `size` bytes in the file to its number in the file system."""
    text = subprocess.run(["filefrag", f"-b{size}", "-e", path], stdout=subprocess.PIPE, check=True, text=True).stdout
    found = {}
    for line in text.splitlines():
        row = re.match(r"\s*\d+:\s*(\d+)\.\.\s*(\d+):\s*(\d+)\.\.", line)
        if row:
            first, last, there = (int(word) for word in row.groups())
            found |= {number: there + number - first for number in range(first, last + 1)}
    return found


def ruin(image: pathlib.Path, out: pathlib.Path, no_index: bool, zeroed: set[int], size: int) -> None:
    """Copies the image, without indexes and with blocks of zeros."""
    subprocess.run(["cp", "--sparse=always", image, out], check=True)
    if no_index:
        with mounted(out, "rw") as root:
            for _, home, _ in homes(root):
                for path in sorted(home.rglob("*"), reverse=True):
                    if INDEXES.match(path.name) and path.exists():
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with open(out, "r+b") as disk:
        for block in sorted(zeroed):
            disk.seek(block * size)
            disk.write(bytes(size))


def restored(root: pathlib.Path) -> tuple[dict[tuple[str, str], collections.Counter], int]:
    """By account and SHA-256 the folders that a whole message was restored to; how many damaged."""
    found: dict = collections.defaultdict(collections.Counter)
    damaged = 0
    for path in root.glob("*/*/Maildir/.restored_emails*/cur/*"):
        folder = path.parts[-3].removeprefix(".restored_emails").removeprefix(".") or "INBOX"
        if folder == "Damaged":
            damaged += 1
            continue
        account = f"{path.parts[-5]}@{path.parts[-6]}"
        found[account, hashlib.sha256(path.read_bytes()).hexdigest()][folder] += 1
    return found, damaged


def attempt(program: pathlib.Path, image: pathlib.Path, truth: list, deleted: set, zeroed: set[int], label: str) -> bool:
    """Recovers a ruined image, prints the score, and says whether it is perfect."""
    with tempfile.TemporaryDirectory(prefix="ruins-case-", dir=image.parent) as scratch:
        out = pathlib.Path(scratch) / "out"
        command = [program, "recover", f"{scratch}/case", image, "--to", f"maildir:{out}", "-q"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found, damaged = restored(out)
    ours = deleted | {(account, digest) for account, _, digest, _ in truth}
    survivors = [row for row in truth if not zeroed & row[3]]
    wanted = collections.Counter((account, digest) for account, _, digest, _ in survivors)
    exact = sum(min(count, sum(found[key].values())) for key, count in wanted.items())
    in_folder = sum(1 for account, folder, digest, _ in survivors if found[account, digest][folder])
    false = sum(sum(folders.values()) for key, folders in found.items() if key not in ours)
    print(
        f"{label:34} survivors={len(survivors)}/{len(truth)} exact={exact} in_folder={in_folder} false={false} damaged={damaged}", flush=True
    )
    return exact == len(survivors) and not false


def main() -> int:
    """Tries each image in each way."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", type=pathlib.Path, nargs="+")
    parser.add_argument("--restante", type=pathlib.Path, default=pathlib.Path(__file__).parents[1] / "target/release/restante")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--truth", type=pathlib.Path, nargs="*", default=[], help="truth.json of incidents: deleted messages are none false")
    arguments = parser.parse_args()
    perfect = True
    for image in arguments.images:
        truth, used, deleted = [], set(), set()
        for path in arguments.truth:
            deleted |= {(row["account"], row["sha256"]) for row in json.loads(path.read_text())["messages"] if row.get("deleted")}
        with mounted(image, "ro,noload") as root:
            size = os.statvfs(root).f_bsize
            for account, home, kind in homes(root):
                places = Places(home, kind)
                maps = {path: blocks(path, size) for path in places.files}
                used |= {block for each in maps.values() for block in each.values()}
                for folder, raw in fetch(home, kind):
                    at = places.of(raw)
                    if at is None:
                        raise SystemExit(f"{account} {folder}: a message that Dovecot shows is in no file")
                    path, start, stop = at
                    holds = {maps[path].get(number, -1) for number in range(start // size, (stop - 1) // size + 1)}
                    truth.append((account, folder, hashlib.sha256(raw).hexdigest(), holds))
        chosen = random.Random(arguments.seed).sample(sorted(used), int(len(used) * arguments.share))
        name = image.parents[1].name if image.parent.name == "disks" else image.stem
        for no_index, zeroed in [(False, set()), (True, set()), (False, set(chosen)), (True, set(chosen))]:
            what = ["no indexes"] * no_index + [f"{len(zeroed)} blocks zeroed"] * bool(zeroed)
            with tempfile.TemporaryDirectory(prefix="ruins-") as scratch:
                ruined = pathlib.Path(scratch) / "disk.img"
                ruin(image, ruined, no_index, zeroed, size)
                label = f"{name}: {', '.join(what) or 'as it is'}"
                perfect &= attempt(arguments.restante, ruined, truth, deleted, zeroed, label)
    return 0 if perfect else 1


if __name__ == "__main__":
    sys.exit(main())
