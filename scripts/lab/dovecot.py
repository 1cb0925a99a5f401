"""A real Dovecot without a daemon: pre-authenticated IMAP over a pipe.

`/usr/lib/dovecot/imap -c CONF` speaks IMAP on its standard input and output, already
logged in, over whatever store its configuration names. No port, no passwords, no service.

    with Mailbox(home, "maildir:~/Maildir") as imap:
        imap.deliver("INBOX", message, 1325376000, flags="S")
"""

from __future__ import annotations

import datetime
import imaplib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

IMAP = "/usr/lib/dovecot/imap"
INSTALL = "install it by scripts/setup.sh (apt-get install dovecot-imapd)"

# The name that Dovecot puts into Maildir file names.
HOST = "imap7.austin.example"

# Maildir's letters for the system flags, in the order in which they stand in file names.
FLAGS = {"D": r"\Draft", "F": r"\Flagged", "R": r"\Answered", "S": r"\Seen", "T": r"\Deleted"}

_CONF = """\
protocols = imap
base_dir = {work}/run
state_dir = {work}/state
import_environment = DOVECOT_HOSTNAME={host}
ssl = no
mail_location = {location}
mail_home = {home}
first_valid_uid = 0
mail_plugins = zlib
maildir_very_dirty_syncs = no
protocol imap {{
  mail_plugins = $mail_plugins
  imap_literal_minus = no
}}
plugin {{
  {plugin}
}}
namespace inbox {{
  inbox = yes
  {namespace}
}}
"""


class DovecotError(Exception):
    """Dovecot is missing, of an unknown version, or refused a command."""


def version() -> tuple[int, int]:
    """Major and minor version of the installed Dovecot, which must be a 2.3."""
    binary = shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if binary is None or not os.path.exists(IMAP):
        raise DovecotError(f"Dovecot is missing: {INSTALL}")
    text = subprocess.run([binary, "--version"], stdout=subprocess.PIPE, check=True, text=True).stdout
    found = re.match(r"(\d+)\.(\d+)", text)
    if not found or (int(found[1]), int(found[2])) != (2, 3):
        # 2.4 renamed most settings: its configuration would have to be another one.
        raise DovecotError(f"Dovecot {text.strip()} is here, but these scripts know 2.3 (Debian 12) only")
    return int(found[1]), int(found[2])


class Reading:
    """What a client of any server needs to read it, beside imaplib's own."""

    def ok(self, answer: tuple[str, list]) -> list:
        """The data of an answer that must be OK."""
        if answer[0] != "OK":
            raise DovecotError(f"{answer} {self.log()}")
        return answer[1]

    def log(self) -> str:
        """What the server logged so far, where that is known."""
        return ""

    def folders(self) -> list[str]:
        """All folders that can be selected, as the server names them (modified UTF-7), sorted."""
        return self._names(self.list())

    def subscriptions(self) -> list[str]:
        """The subscribed folders, sorted."""
        return self._names(self.lsub())

    def _names(self, answer: tuple[str, list]) -> list[str]:
        names = []
        for line in self.ok(answer):
            # A name with odd characters comes as a literal, which imaplib gives as a pair.
            text = line[0] + b" " + line[1] if isinstance(line, tuple) else line or b""
            found = re.match(rb'\((.*?)\) (?:"(?:.|\\.)"|NIL) (?:\{\d+\} )?(.*)$', text, re.S)
            if found and b"\\Noselect" not in found[1]:
                names.append(unquote(found[2].decode("ascii")))
        return sorted(names)


class Mailbox(Reading, imaplib.IMAP4):
    """One user's session. `home` and all below it must belong to `uid`.

    `location` is Dovecot's `mail_location`; `plugin` and `namespace` are more lines for
    these blocks of the configuration, such as `zlib_save = gz`. The process runs as `uid`
    where the caller is root, else as the caller. Leaving the context logs out.
    """

    def __init__(
        self, home: os.PathLike | str, location: str = "maildir:~/Maildir", *, plugin: str = "", namespace: str = "", uid: int = 65534
    ):
        version()
        self._work = pathlib.Path(tempfile.mkdtemp(prefix="dovecot-"))
        self._uid = uid
        self._last_log = ""
        conf = self._work / "dovecot.conf"
        conf.write_text(_CONF.format(work=self._work, home=home, location=location, plugin=plugin, namespace=namespace, host=HOST))
        if os.geteuid() == 0:
            os.chown(self._work, uid, uid)
        self._argv = [IMAP, "-c", str(conf)]
        self._environment = {"HOME": str(home), "USER": "owner", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        super().__init__()
        if self.state != "AUTH":
            raise DovecotError(f"no pre-authenticated session: {self.welcome!r} {self.log()}")

    def open(self, host="", port=0, timeout=None):
        """Starts the process; imaplib calls this in place of a connect."""
        identity = {"user": self._uid, "group": self._uid, "extra_groups": []} if os.geteuid() == 0 else {}
        with open(self._work / "log", "wb") as log:
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=self._environment, **identity
            )

    def read(self, size):
        """Reads `size` bytes of an answer."""
        return self._process.stdout.read(size)

    def readline(self):
        """Reads one line of an answer, however long: imaplib's own limit is for strangers."""
        return self._process.stdout.readline()

    def send(self, data):
        """Sends a part of a command."""
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def shutdown(self):
        """Ends the process and removes its configuration."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._last_log = self.log()
        shutil.rmtree(self._work, ignore_errors=True)

    def log(self) -> str:
        """What Dovecot logged so far."""
        path = self._work / "log"
        return path.read_text(errors="replace") if path.exists() else self._last_log

    def deliver(self, folder: str, raw: bytes, when: int, flags: str = "", keywords: Sequence[str] = ()) -> int:
        """Appends `raw` (LF line ends), makes the folder where it is missing, returns the UID.

        `flags` are Maildir letters (D, F, R, S, T); `when` becomes the arrival date.
        """
        words = [FLAGS[letter] for letter in flags] + list(keywords)
        date = imaplib.Time2Internaldate(datetime.datetime.fromtimestamp(when, datetime.UTC))
        name = quote(folder)
        answer = self._append(name, f"({' '.join(words)})", date, raw)
        if answer[0] == "NO" and b"TRYCREATE" in answer[1][0]:
            self.ok(self.create(name))
            self.ok(self.subscribe(name))
            answer = self._append(name, f"({' '.join(words)})", date, raw)
        found = re.search(rb"APPENDUID \d+ (\d+)", self.ok(answer)[0])
        if not found:
            raise DovecotError(f"no UID in {answer}")
        return int(found[1])

    def _append(self, name: str, flags: str, date: str, raw: bytes) -> tuple[str, list]:
        # imaplib's own append turns a lone CR into a line end.
        self.literal = raw.replace(b"\n", b"\r\n")
        return self._simple_command("APPEND", name, flags, date)


def quote(name: str) -> str:
    """A folder name as an IMAP quoted string."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """The folder name in an IMAP quoted string or atom."""
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def uidlist(folder: pathlib.Path) -> dict[int, str]:
    """UID to base file name (before `:2,`), from a Maildir folder's dovecot-uidlist."""
    lines = (folder / "dovecot-uidlist").read_bytes().decode("utf-8", "surrogateescape").splitlines()
    names = {}
    for line in lines[1:]:
        uid, _, rest = line.partition(" ")
        names[int(uid)] = rest.partition(":")[2].partition(":2,")[0]
    return names


def messages(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Base file name to path of every message in a Maildir folder."""
    return {path.name.partition(":2,")[0]: path for place in ("cur", "new") for path in sorted((folder / place).iterdir())}
