#!/usr/bin/env python3
"""Runs a real IMAP server for tests: Dovecot or Cyrus, on 127.0.0.1, all of it below one directory.

    scripts/imap_server.py dovecot DIR --user ada@lindenhof.example [--user ...] [--mdbox] [--quota KIB]
    scripts/imap_server.py cyrus DIR --user ada ...

Prints one line of JSON when it is ready, and ends when its standard input does:

    {"imap": 4143, "imaps": 4993, "ca": "DIR/ca.pem", "password": "…", "master": {…}}

`imap` offers STARTTLS, `imaps` is TLS; the certificate is of `localhost` and 127.0.0.1 and signed by
`ca`. `master` and `password` are as credentials have them (docs/imap.md). Dovecot takes OAuth 2 tokens too,
`tokens` by user; `DIR/tokens.log` has a line for each one that it asked its authority about, `good` or
`bad`. Runs as root, since both servers drop privileges.
"""

from __future__ import annotations

import argparse
import http.server
import imaplib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

from lab import dovecot

PASSWORD = "a-word-of-tests"
MASTER = "restorer"
CYRUS_BIN = "/usr/lib/cyrus/bin"
# Debian has Dovecot or Cyrus for imapd: scripts/setup.sh takes this one out of its package.
CYRUS_IMAPD = "/usr/local/lib/restante-tests/cyrus-imapd"

_DOVECOT = """\
protocols = imap
base_dir = {run}
state_dir = {run}
log_path = {dir}/log
listen = 127.0.0.1
ssl = yes
ssl_cert = <{dir}/server.pem
ssl_key = <{dir}/server.key
disable_plaintext_auth = no
auth_master_user_separator = *
auth_username_chars =
auth_mechanisms = plain xoauth2
default_login_user = nobody
default_internal_user = nobody
default_internal_group = nogroup
first_valid_uid = 0
mail_location = {location}
mail_plugins = quota zlib
maildir_very_dirty_syncs = no
mail_max_userip_connections = 50
passdb {{
  driver = static
  args = user={master} password={password}
  mechanisms = plain
  master = yes
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2
  args = {dir}/oauth2.conf
}}
passdb {{
  driver = passwd-file
  mechanisms = plain
  args = scheme=PLAIN username_format=%u {dir}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={dir}/mail/%u allow_all_users=yes
}}
protocol imap {{
  mail_plugins = quota imap_quota zlib imap_zlib
}}
plugin {{
  quota = count:User quota
  quota_vsizes = yes
  {quota}
}}
namespace inbox {{
  inbox = yes
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""

# What an authority on the net answers is asked here of serve_tokens().
_OAUTH2 = """\
tokeninfo_url = http://127.0.0.1:{port}/tokeninfo?access_token=
username_attribute = email
active_attribute = active
active_value = yes
scope = mail
"""

_CYRUS = """\
configdirectory: {dir}/conf
defaultpartition: default
partition-default: {dir}/spool
altnamespace: {alt}
unixhierarchysep: {alt}
admins: {master}
proxyservers: {master}
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {dir}/sasldb2
sasl_mech_list: PLAIN
allowplaintext: yes
tls_server_cert: {dir}/server.pem
tls_server_key: {dir}/server.key
tls_client_ca_file: {dir}/ca.pem
virtdomains: userid
defaultdomain: tests
servername: tests
autocreate_quota: 0
autocreate_post: 1
lmtpsocket: {dir}/lmtp
idlesocket: {dir}/idle
notifysocket: {dir}/notify
syslog_prefix: restante-test
"""

_CYRUS_SERVICES = """\
START {{
  recover cmd="{bin}/ctl_cyrusdb -C {dir}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="{imapd} -C {dir}/imapd.conf" listen="127.0.0.1:{imap}" prefork=0
  imaps cmd="{imapd} -C {dir}/imapd.conf -s" listen="127.0.0.1:{imaps}" prefork=0
}}
EVENTS {{
}}
"""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run(*argv: str | os.PathLike, text: str | None = None) -> None:
    """Runs a command that must succeed."""
    subprocess.run(argv, check=True, input=text, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def certificates(folder: pathlib.Path) -> None:
    """An authority, and a certificate of this machine that it signed."""
    subject = folder / "subject.cnf"
    subject.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj"]
    run("openssl", "req", "-x509", *key, "/CN=authority of tests", "-days", "30",
        "-keyout", folder / "ca.key", "-out", folder / "ca.pem")  # fmt: skip
    run("openssl", "req", *key, "/CN=localhost", "-keyout", folder / "server.key", "-out", folder / "server.csr")
    run("openssl", "x509", "-req", "-in", folder / "server.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
        "-CAcreateserial", "-days", "30", "-extfile", subject, "-out", folder / "server.pem")  # fmt: skip


def token_of(user: str) -> str:
    """The OAuth 2 token of a user."""
    return f"{PASSWORD}-that-is-a-token-of-{user}"


def serve_tokens(folder: pathlib.Path, users: list[str]) -> int:
    """The authority that says whose a token is, as a thread; gives its port."""
    owners = {token_of(user): user for user in users}

    class Authority(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            user = owners.get(query.get("access_token", [""])[0])
            said = {"email": user, "active": "yes", "scope": "mail"} if user else {"error": "invalid_token"}
            body = json.dumps(said).encode()
            with (folder / "tokens.log").open("a") as log:
                log.write("good\n" if user else "bad\n")
            self.send_response(200 if user else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Authority)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def start_dovecot(folder: pathlib.Path, arguments: argparse.Namespace, ports: dict) -> subprocess.Popen:
    """Dovecot in the foreground."""
    dovecot.version()
    mail = folder / "mail"
    mail.mkdir()
    shutil.chown(mail, "nobody", "nogroup")
    (folder / "users").write_text("".join(f"{user}:{PASSWORD}\n" for user in arguments.user))
    location = "mdbox:~/mdbox" if arguments.mdbox else "maildir:~/Maildir"
    quota = f"quota_rule = *:storage={arguments.quota}K" if arguments.quota else ""
    (folder / "oauth2.conf").write_text(_OAUTH2.format(port=serve_tokens(folder, arguments.user)))
    conf = folder / "dovecot.conf"
    conf.write_text(
        _DOVECOT.format(dir=folder, run=folder / "run", location=location, quota=quota, master=MASTER, password=PASSWORD, **ports)
    )
    binary = shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    return subprocess.Popen([binary, "-F", "-c", conf], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def start_cyrus(folder: pathlib.Path, arguments: argparse.Namespace, ports: dict) -> subprocess.Popen:
    """Cyrus' master in the foreground."""
    if not os.path.exists(f"{CYRUS_BIN}/master") or not os.path.exists(CYRUS_IMAPD):
        raise SystemExit("imap_server: Cyrus is missing: scripts/setup.sh installs it (apt-get install cyrus-imapd)")
    for name in ("conf", "spool"):
        (folder / name).mkdir()
    alt = "yes" if arguments.alt else "no"
    (folder / "imapd.conf").write_text(_CYRUS.format(dir=folder, master=MASTER, alt=alt))
    (folder / "cyrus.conf").write_text(_CYRUS_SERVICES.format(dir=folder, bin=CYRUS_BIN, imapd=CYRUS_IMAPD, **ports))
    for user in [*arguments.user, f"{MASTER}@tests"]:
        local, _, domain = user.rpartition("@")
        run("saslpasswd2", "-p", "-c", "-f", folder / "sasldb2", "-u", domain, local, text=PASSWORD)
    for path in [folder, *folder.rglob("*")]:
        shutil.chown(path, "cyrus", "mail")
    argv = [f"{CYRUS_BIN}/master", "-C", folder / "imapd.conf", "-M", folder / "cyrus.conf", "-p", folder / "pid", "-L", folder / "log"]
    # When it ends it ends its whole process group, which must not be that of other servers.
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def wait_for(port: int, process: subprocess.Popen, log: pathlib.Path) -> None:
    """Returns when the server answers."""
    for _ in range(300):
        try:
            with imaplib.IMAP4("127.0.0.1", port, timeout=5):
                return
        except (OSError, imaplib.IMAP4.error):
            if process.poll() is not None:
                break
            time.sleep(0.05)
    shown = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    raise SystemExit(f"imap_server: the server does not answer on port {port}\n{shown}")


def make_inboxes(arguments: argparse.Namespace, port: int) -> None:
    """Gives the users of a Cyrus their mailboxes, and quotas."""
    separator = "/" if arguments.alt else "."
    with imaplib.IMAP4("127.0.0.1", port) as admin:
        admin.login(MASTER, PASSWORD)
        for user in arguments.user:
            box = f'"user{separator}{user}"'
            answer = admin.create(box)
            if answer[0] != "OK":
                raise SystemExit(f"imap_server: {answer}")
            if arguments.quota:
                admin.setquota(box, f"(STORAGE {arguments.quota})")


def main() -> int:
    """Serves until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=["dovecot", "cyrus"])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--user", action="append", required=True)
    parser.add_argument("--mdbox", action="store_true", help="Dovecot keeps mail in mdbox, not in Maildirs")
    parser.add_argument("--alt", action="store_true", help="Cyrus names folders Sent/2014, not INBOX.Sent.2014")
    parser.add_argument("--quota", type=int, help="KiB that each user may have")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    certificates(folder)
    ports = {"imap": free_port(), "imaps": free_port()}
    start = start_dovecot if arguments.kind == "dovecot" else start_cyrus
    process = start(folder, arguments, ports)
    # Whoever started this may be killed: then its end of standard input is closed, and this ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        wait_for(ports["imap"], process, folder / "log")
        if arguments.kind == "cyrus":
            make_inboxes(arguments, ports["imap"])
        how = {"for": "name", "separator": "*"} if arguments.kind == "dovecot" else {"for": "authzid"}
        master = {"user": MASTER, "password": PASSWORD, **how}
        tokens = {user: token_of(user) for user in arguments.user}
        ready = {**ports, "ca": str(folder / "ca.pem"), "password": PASSWORD, "master": master, "tokens": tokens}
        print(json.dumps(ready), flush=True)
        sys.stdin.read()
    finally:
        process.terminate()
        process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
