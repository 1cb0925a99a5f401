#!/usr/bin/env python3
"""Scores a restored mail tree against the truth of an incident.

    scripts/score.py TRUTH.json RESTORED_DIR [--json]

RESTORED_DIR holds DOMAIN/LOCAL/Maildir/.restored_emails[.FOLDER...]/{cur,new}/FILE, damaged
messages below .restored_emails.Damaged, and what no account could be proven for below
RESTORED_DIR/_unattributed. Every other file there is a claim: this message, whole, this
account's.

| field | what |
|---|---|
| `survivors`, `exact`, `yield` | messages whose every block can be had; those restored to the byte; their share |
| `folder` | of the exact ones, the share in the right folder |
| `deleted` | exact messages that were deleted before the incident, of how many |
| `false` | files claimed whole that equal no message of the incident (must be 0) |
| `misfiled` | exact messages in an account they never belonged to (must be 0) |
| `duplicates` | the same message more often in an account than it was there (must be 0) |
| `damaged`, `pool_exact`, `pool_other`, `outside` | files in Damaged, in _unattributed, and in no place of the above |
| `accounts_complete` | accounts that got all their survivors |
| `unexpected` | exact messages some of whose blocks the truth holds for lost: copies elsewhere, or repaired |
| `flags`, `keywords`, `dates` | of the exact ones, the share with the right flags, keywords, arrival date (mtime) |
| `sizes` | files whose name says a wrong S= or W= (must be 0: Dovecot drops the session) |

`flags`, `keywords` and `dates` are null where the truth does not know them. `keywords`
counts messages that had some, by the dovecot-keywords file beside them. Deleted messages in the
folder `Recovered` are left out of the three: nothing but their bytes is known. The exit is 1 where
a field that must be 0 is not.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import sys

MUST_BE_ZERO = ("false", "misfiled", "duplicates", "sizes")
BOX = ".restored_emails"

# Where messages come that nothing says a folder of.
CARVED = "Recovered"


class Truth:
    """What was there, by (account, sha256)."""

    def __init__(self, document: dict):
        self.case: str = document["case"]
        self.owners: dict[str, set[str]] = collections.defaultdict(set)
        self.live: collections.Counter = collections.Counter()
        self.gone: collections.Counter = collections.Counter()
        self.messages: dict[tuple[str, str], list[dict]] = collections.defaultdict(list)
        for message in document["messages"]:
            key = (message["account"], message["sha256"])
            self.owners[message["sha256"]].add(message["account"])
            self.messages[key].append(message)
            if message.get("deleted"):
                self.gone[key] += 1
            elif message.get("survives", "full") == "full":
                self.live[key] += 1

    def folders(self, key: tuple[str, str]) -> set[str]:
        """The folders that held a message, in Maildir++ form."""
        return {message["folder"].replace("/", ".") for message in self.messages[key]}

    def knows(self, field: str) -> bool:
        """Whether the truth has this field at all."""
        return any(message.get(field) is not None for messages in self.messages.values() for message in messages)


@dataclasses.dataclass
class Claim:
    """One file of the restored tree."""

    path: pathlib.Path
    sha256: str
    account: str | None
    folder: str


def place(root: pathlib.Path, folder: pathlib.Path) -> tuple[str, str | None, str]:
    """Kind of place ("pool", "outside", "damaged", "claim"), account and folder of a directory."""
    parts = folder.relative_to(root).parts
    if parts and parts[0] == "_unattributed":
        return "pool", None, ""
    box = next((part for part in parts if part.startswith(BOX)), None)
    if box is None or len(parts) < 4:
        return "outside", None, ""
    name = box[len(BOX) :].lstrip(".")
    if name == "Damaged" or name.startswith("Damaged."):
        return "damaged", None, name
    return "claim", f"{parts[1]}@{parts[0]}", name or "INBOX"


def sizes_are_wrong(name: str, data: bytes) -> bool:
    """Whether the file name's S= or W= contradicts the contents."""
    base = name.partition(":2,")[0]
    physical = re.search(r",S=(\d+)", base)
    virtual = re.search(r",W=(\d+)", base)
    bare = data.count(b"\n") - data.count(b"\r\n")
    return bool(physical and int(physical[1]) != len(data)) or bool(virtual and int(virtual[1]) != len(data) + bare)


def letters(name: str) -> tuple[str, str]:
    """System flags and keyword letters of a file name."""
    info = name.rpartition(":2,")[2] if ":2," in name else ""
    return "".join(sorted(filter(str.isupper, info))), "".join(sorted(filter(str.islower, info)))


def keywords(path: pathlib.Path) -> list[str]:
    """The keywords of a file, by the dovecot-keywords of its folder or of the Maildir."""
    table = {}
    for folder in (path.parents[1], path.parents[2]):
        listing = folder / "dovecot-keywords"
        if listing.exists():
            table = dict(line.split(" ", 1) for line in listing.read_text(errors="replace").splitlines() if " " in line)
            break
    return sorted(table.get(str(ord(letter) - ord("a")), "?") for letter in letters(path.name)[1])


def score(truth: Truth, root: pathlib.Path) -> dict:
    """All fields described at the head of this file."""
    tally: collections.Counter = collections.Counter()
    found: collections.Counter = collections.Counter()
    for folder, _, files in os.walk(root):
        kind, account, name = place(root, pathlib.Path(folder))
        if kind != "pool" and os.path.basename(folder) not in ("cur", "new"):
            continue
        for file in sorted(files):
            path = pathlib.Path(folder) / file
            data = path.read_bytes()
            claim = Claim(path, hashlib.sha256(data).hexdigest(), account, name)
            known = claim.sha256 in truth.owners
            tally["sizes"] += sizes_are_wrong(file, data)
            if kind == "pool":
                tally["pool_exact" if known else "pool_other"] += 1
            elif kind != "claim":
                tally[kind] += 1
            elif not known:
                tally["false"] += 1
            elif account not in truth.owners[claim.sha256]:
                tally["misfiled"] += 1
            else:
                found[(account, claim.sha256)] += 1
                judge(truth, claim, tally)
    return summary(truth, found, tally)


def judge(truth: Truth, claim: Claim, tally: collections.Counter) -> None:
    """Compares folder, flags, keywords and date of an exact message."""
    key = (claim.account, claim.sha256)
    messages = truth.messages[key]
    if key in truth.live and claim.folder in truth.folders(key):
        tally["in_folder"] += 1
    if claim.folder == CARVED and key not in truth.live:
        # Of a deleted message that was carved its bytes are known, and nothing beside them.
        return
    tally["placed"] += 1
    tally["right_flags"] += any(message.get("flags") == letters(claim.path.name)[0] for message in messages)
    tally["right_dates"] += any(message.get("date") == int(claim.path.stat().st_mtime) for message in messages)
    if any(message.get("keywords") for message in messages):
        tally["with_keywords"] += 1
        tally["right_keywords"] += any(sorted(message.get("keywords", [])) == keywords(claim.path) for message in messages)


def summary(truth: Truth, found: collections.Counter, tally: collections.Counter) -> dict:
    """The fields from the counts."""
    survivors = sum(truth.live.values())
    exact = sum(min(found[key], count) for key, count in truth.live.items())
    bonus = sum(min(found[key], count) for key, count in truth.gone.items() if key not in truth.live)
    tally["duplicates"] = sum(max(0, count - len(truth.messages[key])) for key, count in found.items())
    tally["unexpected"] = sum(count for key, count in found.items() if key not in truth.live and key not in truth.gone)
    accounts: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    for key, count in truth.live.items():
        accounts[key[0]][0] += min(found[key], count)
        accounts[key[0]][1] += count
    share = lambda part, whole: round(part / whole, 4) if whole else None
    return {
        "case": truth.case,
        "survivors": survivors,
        "exact": exact,
        "yield": share(exact, survivors),
        "folder": share(min(tally["in_folder"], exact), exact),
        "deleted": f"{bonus}/{sum(truth.gone.values())}",
        **{name: tally[name] for name in ("false", "misfiled", "duplicates", "damaged", "pool_exact", "pool_other", "outside")},
        "accounts_complete": f"{sum(got == count for got, count in accounts.values())}/{len(accounts)}",
        "flags": share(tally["right_flags"], tally["placed"]) if truth.knows("flags") else None,
        "keywords": share(tally["right_keywords"], tally["with_keywords"]),
        "dates": share(tally["right_dates"], tally["placed"]) if truth.knows("date") else None,
        "sizes": tally["sizes"],
        "unexpected": tally["unexpected"],
    }


def main() -> int:
    """Prints the score; 1 when something is there that must not be."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    if len(arguments) != 2:
        print("usage: score.py TRUTH.json RESTORED_DIR [--json]", file=sys.stderr)
        return 2
    fields = score(Truth(json.loads(pathlib.Path(arguments[0]).read_text())), pathlib.Path(arguments[1]))
    if "--json" in sys.argv:
        print(json.dumps(fields))
    else:
        print("  ".join(f"{name}={value}" for name, value in fields.items()))
    return 1 if any(fields[name] for name in MUST_BE_ZERO) else 0


if __name__ == "__main__":
    sys.exit(main())
