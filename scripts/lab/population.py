"""Fills accounts with made-up mail through a real Dovecot.

`populate` makes `BASE/DOMAIN/LOCAL/...`, one home an account, and returns what was
delivered. What a spec may say under `mail`:

| key | what | default |
|---|---|---|
| `accounts` | how many, or their addresses | 6 |
| `messages` | how many in all | 100 |
| `location` | Dovecot's mail_location | `maildir:~/Maildir` |
| `namespace` | more lines for its inbox namespace | |
| `folders` | list of names, or of [name, weight], as the server names them | `FOLDERS` |
| `codecs` | zlib_save of account 0, 1, …; "" is plain, `a>b` changes at half time | [""] |
| `attachment` | least and most bytes of an attachment | [2000, 9000] |
| `dkim` | share of signed mail | 0.6 |
| `keywords` | share of messages with a keyword | 0.1 |
| `kinds` | the kinds of `mail.KINDS` to take, by their weights | all |
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import random

from lab import dovecot, mail

MAIL_UID = 5000
DOMAINS = ["tidewater.example", "saltmarsh.example", "quarry-press.example", "oakandash.example"]
LOCALS = [
    "ada",
    "bruno",
    "chandra",
    "dilip",
    "esther",
    "farid",
    "greta",
    "hiro",
    "imani",
    "jonas",
    "o'neill",
    "j_doe",
    "support.desk",
    "info",
]
STRANGERS = ["customer.example", "vendor.example", "bank.example", "town.example"]
FOLDERS = [
    ("INBOX", 10),
    ("Sent", 3),
    ("Drafts", 0.5),
    ("Archive.2013", 2),
    ("Archive.2014.Q1", 2),
    ("Projects.Austin", 2),
    ("Entw&APw-rfe", 0.5),
]
KEYWORDS = ["invoice", "orchard", "$Forwarded", "$label1"]
# 2012-01-01; mail is spread over this and the next 27 months.
START, SPAN = 1_325_376_000, 72_000_000


def accounts(spec: dict) -> list[str]:
    """The addresses of a spec's accounts, sorted by domain and local part."""
    wanted = spec["mail"].get("accounts", 6)
    if isinstance(wanted, int):
        every = [f"{local}@{domain}" for domain in DOMAINS for local in LOCALS]
        wanted = random.Random(f"{spec['seed']}-accounts").sample(every, wanted)
    return sorted(wanted, key=lambda account: account.split("@")[::-1])


def home(account: str) -> str:
    """The account's folder below the base: DOMAIN/LOCAL."""
    local, domain = account.split("@")
    return f"{domain}/{local}"


def plan(spec: dict) -> list[dict]:
    """All messages in the order of their delivery; pure, by the spec's seed."""
    settings = spec["mail"]
    rng = random.Random(f"{spec['seed']}-plan")
    writer = mail.Writer(spec["seed"], tuple(settings.get("attachment", (2_000, 9_000))))
    users = accounts(spec)
    weights = [rng.paretovariate(1.6) for _ in users]
    folders = [(entry, 1) if isinstance(entry, str) else entry for entry in settings.get("folders", FOLDERS)]
    kinds = settings.get("kinds", list(mail.KINDS))
    kind_weights = [mail.KINDS[kind][0] for kind in kinds]
    count = settings.get("messages", 100)
    out = []
    for number in range(count):
        # The first messages go round, so that no account stays empty.
        account = users[number] if number < len(users) else rng.choices(users, weights)[0]
        folder = rng.choices([name for name, _ in folders], [weight for _, weight in folders])[0]
        own = folder in ("Sent", "Drafts")
        other = f"{rng.choice(LOCALS)}@{rng.choice(STRANGERS)}"
        sender, recipient = (account, other) if own else (other, account)
        when = START + (number + 1) * (SPAN // count) + rng.randint(0, 900)
        kind = rng.choices(kinds, kind_weights)[0]
        chance = 0 if folder == "Drafts" else settings.get("dkim", 0.6)
        flags = ("D" if folder == "Drafts" else "") + "".join(
            letter for letter, share in (("F", 0.07), ("R", 0.2), ("S", 0.8), ("T", 0.02)) if rng.random() < share
        )
        out.append(
            {
                "account": account,
                "folder": folder,
                "date": when,
                "kind": kind,
                "flags": flags,
                "keywords": sorted(rng.sample(KEYWORDS, rng.choice([1, 1, 2]))) if rng.random() < settings.get("keywords", 0.1) else [],
                "raw": writer.message(sender, recipient, when, kind=kind, signed=chance, delivered=not own),
            }
        )
    return out


def codec(spec: dict, user: int, half: int) -> str:
    """The codec that the store of account number `user` saves with in a half of the time."""
    choices = spec["mail"].get("codecs", [""])
    first, _, later = choices[user % len(choices)].partition(">")
    return later if half and later else first


def populate(spec: dict, base: pathlib.Path) -> list[dict]:
    """Delivers the plan below `base` and returns it, with `sha256`, `codec` and, for a Maildir, `rel`."""
    settings = spec["mail"]
    location = settings.get("location", "maildir:~/Maildir")
    delivered = plan(spec)
    users = accounts(spec)
    for account in users:
        (base / home(account)).mkdir(parents=True)
    _give(base)
    for number, account in enumerate(users):
        own = [message for message in delivered if message["account"] == account]
        middle = len(own) // 2
        for half, batch in enumerate((own[:middle], own[middle:])):
            packing = codec(spec, number, half)
            plugin = f"zlib_save = {packing}" if packing else ""
            _deliver(base / home(account), batch, location, plugin, settings.get("namespace", ""))
            for message in batch:
                message["codec"] = packing
        if location.startswith("maildir:"):
            _locate(base, account, own, "LAYOUT=fs" in location)
    for message in delivered:
        message["sha256"] = hashlib.sha256(message["raw"]).hexdigest()
    return delivered


def _give(base: pathlib.Path) -> None:
    if os.geteuid() == 0:
        for folder, _, _ in os.walk(base):
            os.chown(folder, MAIL_UID, MAIL_UID)


def _deliver(where: pathlib.Path, batch: list[dict], location: str, plugin: str, namespace: str) -> None:
    with dovecot.Mailbox(where, location, plugin=plugin, namespace=namespace, uid=MAIL_UID) as imap:
        for message in batch:
            message["uid"] = imap.deliver(message["folder"], message["raw"], message["date"], message["flags"], message["keywords"])
        for folder in imap.folders():  # a mail program looks in: indexes and caches get written
            imap.ok(imap.select(dovecot.quote(folder)))
            imap.ok(imap.uid("FETCH", "1:*", "(FLAGS ENVELOPE)"))
            imap.ok(imap.unselect())


def _locate(base: pathlib.Path, account: str, own: list[dict], nested: bool) -> None:
    """Sets `rel`, the file of each message relative to `base`, by the folders' uidlists."""
    maildir = base / home(account) / "Maildir"
    for name in sorted({message["folder"] for message in own}):
        folder = maildir if name == "INBOX" else maildir / (name if nested else "." + name)
        names, files = dovecot.uidlist(folder), dovecot.messages(folder)
        for message in own:
            if message["folder"] == name:
                message["rel"] = str(files[names[message["uid"]]].relative_to(base))
