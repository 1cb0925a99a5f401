#!/usr/bin/env python3
"""Lists an account of an IMAP server as a mail program sees it: JSON on standard output.

    scripts/imap_fetch.py PORT USER PASSWORD [--master NAME]

Speaks to 127.0.0.1 without TLS, by Python's imaplib. With `--master` NAME logs in for USER by SASL's
authorization identity. The document is that of scripts/dovecot_read.py.
"""

from __future__ import annotations

import argparse
import imaplib
import json
import sys

from dovecot_read import read_folder
from lab import dovecot


class Client(dovecot.Reading, imaplib.IMAP4):
    """A session over the network."""


def log_in(arguments: argparse.Namespace) -> Client:
    """A session of the user."""
    client = Client("127.0.0.1", arguments.port, timeout=60)
    if arguments.master:
        text = f"{arguments.user}\0{arguments.master}\0{arguments.password}"
        client.ok(client.authenticate("PLAIN", lambda _: text.encode()))
    else:
        client.ok(client.login(arguments.user, arguments.password))
    return client


def main() -> int:
    """Prints the document."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("port", type=int)
    parser.add_argument("user")
    parser.add_argument("password")
    parser.add_argument("--master")
    arguments = parser.parse_args()
    with log_in(arguments) as client:
        subscribed = set(client.subscriptions())
        folders = [
            {"name": name, "subscribed": name in subscribed, "messages": read_folder(client, name)} for name in client.folders()
        ]
    json.dump({"folders": folders, "errors": []}, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
