#!/usr/bin/env python3
"""Makes fixtures/crypt: stores whose messages a real Dovecot encrypted with its plugin mail_crypt.

    scripts/make-crypt-fixture.py [OUT]          # default fixtures/crypt

The first two messages of each store were saved before the plugin was switched on, the others after. Leaves
OUT/stores.tar.zst with one home a store and OUT/manifest.json: for each store what every message is, and whether
it is encrypted; `key` is the digest of the key as doveadm says it. The private key is thrown away.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from lab import dovecot, mail

ACCOUNT = "ada@tidewater.example"
FOLDERS = ["INBOX", "INBOX", "Sent", "INBOX"]
# Store: (mail_location, more lines for Dovecot's plugin block).
STORES = {
    "maildir": ("maildir:~/Maildir", ""),
    "maildir-gz": ("maildir:~/Maildir", "zlib_save = gz"),
    "maildir-v1": ("maildir:~/Maildir", "mail_crypt_save_version = 1"),
    "sdbox": ("sdbox:~/sdbox", ""),
    "mdbox": ("mdbox:~/mdbox", "zlib_save = zstd"),
}


class Encrypting(dovecot.Mailbox):
    """A session with the plugin."""

    def open(self, *arguments, **options):
        """Starts the process."""
        self._argv += ["-o", "mail_plugins=zlib mail_crypt"]
        super().open(*arguments, **options)


def key_pair(scratch: pathlib.Path) -> tuple[str, str]:
    """Lines for the plugin, and the digest of the key."""
    private, public = scratch / "private.pem", scratch / "public.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", scratch / "ec.pem"], check=True)
    subprocess.run(["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", scratch / "ec.pem", "-out", private], check=True)
    subprocess.run(["openssl", "ec", "-in", scratch / "ec.pem", "-pubout", "-out", public], check=True, stderr=subprocess.DEVNULL)
    for path in (private, public):
        path.chmod(0o644)
    said = subprocess.run(["doveadm", "dump", "-t", "dcrypt-key", public], check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = f"mail_crypt_global_private_key = <{private}\n  mail_crypt_global_public_key = <{public}\n  mail_crypt_save_version = 2"
    return lines, said


def fill(home: pathlib.Path, location: str, plugin: str, keys: str) -> list[dict]:
    """Saves messages before and after the plugin is there."""
    writer = mail.Writer(67, attachment=(1500, 4000))
    rows = []
    for encrypted in (False, True):
        options = "\n  ".join(filter(None, [keys, plugin] if encrypted else [re.sub("mail_crypt.*", "", plugin)]))
        session = Encrypting if encrypted else dovecot.Mailbox
        with session(home, location, plugin=options) as imap:
            for number in range(4 if encrypted else 2):
                when = 1_325_376_000 + len(rows) * 86_399
                folder = FOLDERS[number]
                raw = writer.message("hiro@customer.example", ACCOUNT, when, kind=list(mail.KINDS)[len(rows)], delivered=True)
                uid = imap.deliver(folder, raw, when, "S", [])
                row = {"folder": folder, "uid": uid, "date": when, "size": len(raw), "encrypted": encrypted}
                rows.append(row | {"sha256": hashlib.sha256(raw).hexdigest()})
    with Encrypting(home, location, plugin="\n  ".join(filter(None, [keys, plugin]))) as imap:
        for row in rows:
            imap.ok(imap.select(dovecot.quote(row["folder"]), readonly=True))
            got = imap.ok(imap.uid("FETCH", str(row["uid"]), "(BODY.PEEK[])"))[0][1].replace(b"\r\n", b"\n")
            if hashlib.sha256(got).hexdigest() != row["sha256"]:
                raise SystemExit(f"{location}: {row} reads back differently")
    return rows


def main() -> None:
    """Makes all stores in a temporary folder, then packs them."""
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "fixtures/crypt")
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        scratch.chmod(0o755)
        keys, said = key_pair(scratch)
        root = scratch / "stores"
        root.mkdir()
        stores = {}
        for store, (location, plugin) in STORES.items():
            home = root / store
            home.mkdir()
            os.chown(home, 65534, 65534)
            stores[store] = fill(home, location, plugin, keys)
        out.mkdir(parents=True, exist_ok=True)
        pack = "tar --sort=name --owner=0 --group=0 --numeric-owner -cf - ."
        subprocess.run(f"{pack} | zstd -q -19 --long=23 -f -o {out.resolve()}/stores.tar.zst", shell=True, check=True, cwd=root)
    lines = [f"{json.dumps(store)}: [\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]" for store, rows in stores.items()]
    ids = json.dumps(re.findall(r"\b[0-9a-f]{64}\b", said))
    (out / "manifest.json").write_text(f'{{"keys": {ids}, "stores": {{\n' + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    main()
