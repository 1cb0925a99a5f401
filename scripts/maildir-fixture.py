#!/usr/bin/env python3
"""Makes fixtures/maildir: the same messages in every store and codec of a real Dovecot.

    scripts/maildir-fixture.py [OUT]          # default fixtures/maildir

Leaves OUT/stores.tar.zst with one folder a store and OUT/manifest.json, which says for each
store what every message is: plain SHA-256 and size, folder, arrival date, flags, keywords
and, where the store keeps one file a message, the file.

Dovecot 2.3 saves gz, bz2, lz4 and zstd; xz it only reads, so that store is packed by
Python's lzma from the plain one, under the plain one's file names, and read back by Dovecot.
"""

from __future__ import annotations

import bz2
import hashlib
import json
import lzma
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zlib

from lab import dovecot, mail

SEED = 31
ACCOUNT = "ada@tidewater.example"
FOLDERS = ["INBOX", "INBOX", "Sent", "Archive.2014", "Entw&APw-rfe"]
# Store: (mail_location, more lines for Dovecot's plugin block).
STORES = {
    "maildir": ("maildir:~/Maildir", ""),
    "maildir-gz": ("maildir:~/Maildir", "zlib_save = gz"),
    "maildir-bz2": ("maildir:~/Maildir", "zlib_save = bz2"),
    "maildir-lz4": ("maildir:~/Maildir", "zlib_save = lz4"),
    "maildir-zstd": ("maildir:~/Maildir", "zlib_save = zstd"),
    "maildir-fs": ("maildir:~/Maildir:LAYOUT=fs", ""),
    "sdbox": ("sdbox:~/sdbox", ""),
    "mdbox": ("mdbox:~/mdbox", ""),
    "mdbox-gz": ("mdbox:~/mdbox", "zlib_save = gz"),
    "mbox": ("mbox:~/mail:INBOX=~/mbox", ""),
}


def sample() -> list[dict]:
    """Two messages of a few kinds, one of each other, and one that spans four LZ4 chunks."""
    writer = mail.Writer(SEED, attachment=(1500, 4000))
    kinds = ["plain", "mixed"] + list(mail.KINDS)
    out = []
    for number, kind in enumerate(kinds + ["large"]):
        when = 1_325_376_000 + number * 86_399
        folder = FOLDERS[number % len(FOLDERS)]
        sent = folder == "Sent"
        sender, recipient = (ACCOUNT, "hiro@customer.example") if sent else ("hiro@customer.example", ACCOUNT)
        raw = writer.message(sender, recipient, when, kind="plain" if kind == "large" else kind, delivered=not sent)
        if kind == "large":
            raw += writer.text("en", 500).encode()
        flags = ["", "S", "RS", "FS", "T", "D"][number % 6]
        keywords = [["invoice"], [], [], ["$Forwarded", "orchard"]][number % 4]
        out.append({"folder": folder, "date": when, "flags": flags, "keywords": keywords, "raw": raw, "kind": kind})
    return out


def fill(home: pathlib.Path, name: str, messages: list[dict]) -> list[dict]:
    """Fills one store and returns its part of the manifest."""
    location, plugin = STORES[name]
    separator = "/" if name in ("maildir-fs", "mbox") or "dbox" in name else "."
    entries = []
    with dovecot.Mailbox(home, location, plugin=plugin) as imap:
        for message in messages:
            folder = message["folder"].replace(".", separator)
            uid = imap.deliver(folder, message["raw"], message["date"], message["flags"], message["keywords"])
            entries.append(
                {
                    "folder": folder,
                    "uid": uid,
                    "kind": message["kind"],
                    "date": message["date"],
                    "flags": message["flags"],
                    "keywords": sorted(message["keywords"]),
                    "size": len(message["raw"]),
                    "sha256": hashlib.sha256(message["raw"]).hexdigest(),
                }
            )
        for folder in imap.folders():  # makes Dovecot write its indexes and caches
            imap.ok(imap.select(dovecot.quote(folder)))
            imap.ok(imap.uid("FETCH", "1:*", "(FLAGS ENVELOPE BODYSTRUCTURE)"))
            imap.ok(imap.unselect())
    if name.startswith("maildir"):
        for entry in entries:
            entry["file"] = str(stored_file(home, entry, separator).relative_to(home))
            check(home / entry["file"], entry)
    return entries


def stored_file(home: pathlib.Path, entry: dict, separator: str) -> pathlib.Path:
    """The file that holds a message, by way of dovecot-uidlist."""
    sub = "" if entry["folder"] == "INBOX" else ("." if separator == "." else "") + entry["folder"]
    folder = home / "Maildir" / sub
    return dovecot.messages(folder)[dovecot.uidlist(folder)[entry["uid"]]]


def check(path: pathlib.Path, entry: dict) -> None:
    """Unpacks with another implementation than Dovecot's, where Python has one."""
    stored = path.read_bytes()
    if stored.startswith(b"\x1f\x8b"):
        stored = zlib.decompress(stored, 31)
    elif stored.startswith(b"BZh"):
        stored = bz2.decompress(stored)
    elif stored.startswith(b"\x28\xb5\x2f\xfd"):
        stored = subprocess.run(["zstd", "-dcq"], input=stored, stdout=subprocess.PIPE, check=True).stdout
    elif stored.startswith(b"Dovecot-LZ4\x0d\x2a\x9b\xc5"):
        return  # Python has no LZ4; `read_back` reads it by Dovecot
    if hashlib.sha256(stored).hexdigest() != entry["sha256"]:
        raise SystemExit(f"{path}: not what was appended ({entry['kind']})")


def pack_xz(plain: pathlib.Path, home: pathlib.Path, entries: list[dict]) -> list[dict]:
    """The plain Maildir again with every message packed by xz."""
    subprocess.run(["cp", "-aT", plain, home], check=True)
    for entry in entries:
        path = home / entry["file"]
        path.write_bytes(lzma.compress(path.read_bytes()))
        os.utime(path, (entry["date"], entry["date"]))
    for path in home.rglob("dovecot.index*"):
        path.unlink()  # they would vouch for the plain files
    return [dict(entry) for entry in entries]


def read_back(home: pathlib.Path, location: str, entries: list[dict]) -> None:
    """Fetches every message by Dovecot and compares, so that the manifest is not our opinion.

    An mbox adds a line end where a message has none: there the manifest takes what is read.
    """
    with dovecot.Mailbox(home, location) as imap:
        for entry in entries:
            imap.ok(imap.select(dovecot.quote(entry["folder"]), readonly=True))
            data = imap.ok(imap.uid("FETCH", str(entry["uid"]), "(BODY.PEEK[])"))
            got = data[0][1].replace(b"\r\n", b"\n")
            if location.startswith("mbox"):  # mbox does not keep a message's exact end
                entry |= {"size": len(got), "sha256": hashlib.sha256(got).hexdigest()}
            elif hashlib.sha256(got).hexdigest() != entry["sha256"]:
                raise SystemExit(f"{home}: {entry} reads back differently")


def main() -> None:
    """Makes all stores in a temporary folder, then packs them."""
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "fixtures/maildir")
    messages = sample()
    manifest = {"account": ACCOUNT, "dovecot": ".".join(map(str, dovecot.version())), "stores": {}}
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch) / "stores"
        root.mkdir()
        os.chmod(scratch, 0o755)
        for name in [*STORES, "maildir-xz"]:
            home = root / name
            home.mkdir()
            if os.geteuid() == 0:
                os.chown(home, 65534, 65534)
            if name == "maildir-xz":
                entries = pack_xz(root / "maildir", home, manifest["stores"]["maildir"])
            else:
                entries = fill(home, name, messages)
            copy = pathlib.Path(scratch) / "copy"
            subprocess.run(["cp", "-a", home, copy], check=True)
            read_back(copy, STORES.get(name, STORES["maildir"])[0], entries)
            shutil.rmtree(copy)
            manifest["stores"][name] = entries
        out.mkdir(parents=True, exist_ok=True)
        pack = "tar --sort=name --owner=0 --group=0 --numeric-owner -cf - ."
        subprocess.run(f"{pack} | zstd -q -19 --long=23 -f -o {out.resolve()}/stores.tar.zst", shell=True, check=True, cwd=root)
    lines = [
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]"
        for name, entries in manifest["stores"].items()
    ]
    head = json.dumps({key: value for key, value in manifest.items() if key != "stores"})[:-1]
    (out / "manifest.json").write_text(head + ', "stores": {\n' + ",\n".join(lines) + "\n}}\n")
    print(f"{sum(map(len, manifest['stores'].values()))} messages in {len(manifest['stores'])} stores", file=sys.stderr)


if __name__ == "__main__":
    main()
