#!/usr/bin/env python3
"""Makes fixtures/cyrus: the same messages in the stores of a real Cyrus IMAP of Debian.

    scripts/make-cyrus-fixture.py [OUT]          # default fixtures/cyrus

Cyrus conflicts with Dovecot as a package, so its packages are only unpacked, and run as nobody on
a port of the loopback. Leaves OUT/stores.tar.zst with a spool for each layout (`uuid`: directories
called by unique ids, the default of 3.6; `legacy`: by hashed names), and OUT/manifest.json with
what IMAP says of each message. Needs root; makes `/dev/log` while it runs if there is none, since
Cyrus does not start without.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import imaplib
import json
import os
import pathlib
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

from lab import mail

PACKAGES = ["cyrus-imapd", "cyrus-common", "libxapian30", "libpcre3", "libical3", "sasl2-bin"]
ACCOUNT = "john.doe@tidewater.example"
OTHER = "hiro@customer.example"
FOLDERS = ["", "", "/Sent", "/Archive/2014", "/Entw&APw-rfe"]
FLAGS = {"S": r"\Seen", "R": r"\Answered", "F": r"\Flagged", "D": r"\Draft", "T": r"\Deleted"}
PORT = 24143
CONFIG = """\
configdirectory: {work}/lib
partition-default: {work}/spool
defaultpartition: default
admins: cyrus
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {work}/sasldb2
sasl_mech_list: PLAIN
cyrus_user: nobody
cyrus_group: nogroup
virtdomains: userid
unixhierarchysep: yes
altnamespace: no
hashimapspool: yes
mailbox_legacy_dirs: {legacy}
proc_path: {work}/proc
mboxname_lockpath: {work}/lock
"""
SERVICES = """\
START {{
  recover cmd="{bin}/ctl_cyrusdb -C {work}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="{bin}/imapd -C {work}/imapd.conf" listen="127.0.0.1:{port}" prefork=0
}}
EVENTS {{
}}
"""


def unpack(root: pathlib.Path) -> dict[str, str]:
    """Unpacks the packages below `root` and gives an environment to run them in."""
    debs = root / "debs"
    debs.mkdir()
    subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=debs, check=True, stderr=subprocess.DEVNULL)
    for deb in debs.glob("*.deb"):
        subprocess.run(["dpkg", "-x", deb, root / "cyrus"], check=True)
    libraries = [str(root / "cyrus" / place) for place in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")]
    return dict(os.environ, LD_LIBRARY_PATH=":".join(libraries))


@contextlib.contextmanager
def syslog() -> Iterator[None]:
    """A place for log messages, if the machine has none."""
    path = "/dev/log"
    if os.path.exists(path):
        yield
        return
    sink = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sink.bind(path)
    os.chmod(path, 0o666)

    def drain() -> None:
        while True:
            sink.recv(65536)

    threading.Thread(target=drain, daemon=True).start()
    try:
        yield
    finally:
        os.unlink(path)


@contextlib.contextmanager
def server(root: pathlib.Path, work: pathlib.Path, environment: dict[str, str], legacy: bool) -> Iterator[None]:
    """Cyrus, running on `work`."""
    binaries = root / "cyrus/usr/lib/cyrus/bin"
    for place in ["spool", "proc", "lock"] + [f"lib/{name}" for name in ("db", "socket", "user", "quota", "proc", "log", "msg")]:
        (work / place).mkdir(parents=True)
    (work / "imapd.conf").write_text(CONFIG.format(work=work, legacy="yes" if legacy else "no"))
    (work / "cyrus.conf").write_text(SERVICES.format(work=work, bin=binaries, port=PORT))
    secret = [root / "cyrus/usr/sbin/saslpasswd2", "-p", "-c", "-f", work / "sasldb2", "-u"]
    for realm, user in [(socket.gethostname(), "cyrus"), (ACCOUNT.split("@")[1], ACCOUNT.split("@")[0])]:
        subprocess.run([*secret, realm, user], input=b"x", env=environment, check=True)
    subprocess.run(["chown", "-R", "nobody:nogroup", work], check=True)
    # It closes every descriptor there could be, one by one.
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
    command = [binaries / "master", "-C", work / "imapd.conf", "-M", work / "cyrus.conf", "-p", work / "pid"]
    master = subprocess.Popen(command, env=environment, preexec_fn=few)
    try:
        yield
    finally:
        master.terminate()
        master.wait()


def login(user: str) -> imaplib.IMAP4:
    """A session; the server may still be starting."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            imap = imaplib.IMAP4("127.0.0.1", PORT)
            imap.login(user, "x")
            return imap
        time.sleep(0.2)
    raise SystemExit("Cyrus does not answer")


def ok(answer: tuple[str, list]) -> list:
    """The data of an answer that must be OK."""
    if answer[0] != "OK":
        raise SystemExit(f"{answer}")
    return answer[1]


def fill() -> None:
    """Makes the account, saves the messages, and expunges one of them."""
    admin = login("cyrus")
    ok(admin.create(f"user/{ACCOUNT}"))
    ok(admin.setacl(f"user/{ACCOUNT}", ACCOUNT, "lrswipkxtecda"))
    imap = login(ACCOUNT)
    for folder in ["/Sent", "/Archive", "/Archive/2014", "/Entw&APw-rfe"]:
        ok(imap.create(f'"INBOX{folder}"'))
    writer = mail.Writer(47, attachment=(1500, 4000))
    for number, kind in enumerate(mail.KINDS):
        when = 1_325_376_000 + number * 86_399
        raw = writer.message(OTHER, ACCOUNT, when, kind=kind, delivered=True)
        flags = [FLAGS[letter] for letter in ["", "S", "RS", "FS", "T", "D"][number % 6]]
        flags += [["invoice"], [], [], ["$Forwarded", "orchard"]][number % 4]
        date = imaplib.Time2Internaldate(datetime.datetime.fromtimestamp(when, datetime.UTC))
        name = "INBOX" + FOLDERS[number % len(FOLDERS)]
        raw = raw.replace(b"\0", b"?")  # Cyrus refuses it
        answer = imap.append(f'"{name}"', f"({' '.join(flags)})", date, raw.replace(b"\n", b"\r\n"))
        if answer[0] != "OK":
            print(f"{kind}: {answer[1]}", file=sys.stderr)
    ok(imap.select("INBOX"))
    ok(imap.uid("STORE", "1", "+FLAGS", r"(\Deleted)"))
    ok(imap.uid("EXPUNGE", "1"))
    imap.logout()
    admin.logout()


def read() -> list[dict]:
    """What IMAP says is there."""
    found = []
    imap = login(ACCOUNT)
    for folder in sorted(set(FOLDERS)):
        answer = imap.select(f'"INBOX{folder}"', readonly=True)
        for item in ok(imap.uid("FETCH", "1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")) if answer[0] == "OK" else []:
            if not isinstance(item, tuple):
                continue
            words = re.search(rb"FLAGS \((.*?)\)", item[0])[1].decode().split()
            letters = [letter for letter, word in FLAGS.items() if word in words]
            found.append(
                {
                    "folder": folder.removeprefix("/") or "INBOX",
                    "uid": int(re.search(rb"UID (\d+)", item[0])[1]),
                    "date": int(time.mktime(imaplib.Internaldate2tuple(item[0]))),
                    "flags": "".join(sorted(letters)),
                    "keywords": sorted(word for word in words if not word.startswith("\\")),
                    "size": len(item[1]),
                    "sha256": hashlib.sha256(item[1]).hexdigest(),
                }
            )
    imap.logout()
    return found


def main() -> None:
    """Makes both spools in a temporary folder, then packs them."""
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "fixtures/cyrus")
    manifest: dict = {"account": ACCOUNT, "stores": {}}
    with tempfile.TemporaryDirectory() as scratch, syslog():
        root = pathlib.Path(scratch)
        os.chmod(root, 0o755)
        environment = unpack(root)
        (root / "stores").mkdir()
        for name in ["uuid", "legacy"]:
            work = root / name
            work.mkdir()
            with server(root, work, environment, name == "legacy"):
                fill()
                manifest["stores"][name] = read()
            shutil.move(work / "spool", root / "stores" / name)
        out.mkdir(parents=True, exist_ok=True)
        pack = "tar --sort=name --owner=0 --group=0 --numeric-owner -cf - ."
        target = out.resolve() / "stores.tar.zst"
        subprocess.run(f"{pack} | zstd -q -19 -f -o {target}", shell=True, check=True, cwd=root / "stores")
    rows = [
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]" for name, entries in manifest["stores"].items()
    ]
    (out / "manifest.json").write_text(f'{{"account": {json.dumps(ACCOUNT)}, "stores": {{\n' + ",\n".join(rows) + "\n}}\n")
    print(f"{sum(map(len, manifest['stores'].values()))} messages in {len(manifest['stores'])} stores", file=sys.stderr)


if __name__ == "__main__":
    main()
