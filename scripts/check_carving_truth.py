#!/usr/bin/env python3
"""Checks what `cargo bench -p benches --bench carving -- --write DIR` wrote, with code of others.

    scripts/check_carving_truth.py DIR

Every message must be on its image as truth.json says, by SHA-256; its signatures must prove what
truth.json says of them, by dkimpy; Python's own parser must find no defect in it. Prints the number
of messages by what their signatures prove. The exit is 1 where anything is not so.
"""
import base64
import collections
import email
import hashlib
import json
import pathlib
import re
import sys

import dkim
from dkim.canonicalization import CanonicalizationPolicy

SIGNATURES = (b"dkim-signature", b"arc-message-signature")
HASHES = {b"rsa-sha1": hashlib.sha1, b"rsa-sha256": hashlib.sha256}
BEST_FIRST = ("whole", "start", "broken", "none")


def as_stored(image, message):
    """The message before damage, or None where its head is lost."""
    stored = bytearray(b"".join(image[at : at + length] for at, length in message["extents"]))
    if message["fate"] == "head-lost":
        return None
    if "flip" in message:
        stored[message["flip"]["at"]] ^= 1 << message["flip"]["bit"]
    return bytes(stored)


def proof(value, body):
    """What one signature proves of a body with CRLF."""
    tags = dkim.util.parse_tag_value(value)
    policy = CanonicalizationPolicy.from_c_value(tags.get(b"c", b"simple/simple"))
    body = policy.canonicalize_body(body)
    length = int(tags.get(b"l", len(body)))
    digest = HASHES[tags[b"a"]](body[:length]).digest()
    if base64.b64encode(digest) != re.sub(rb"\s+", b"", tags[b"bh"]):
        return "broken"
    return "whole" if length == len(body) else "start"


def signature(raw):
    """The best that the signatures of a message prove."""
    fields, body = dkim.rfc822_parse(re.sub(rb"\r?\n", b"\r\n", raw))
    proofs = {proof(value, body) for name, value in fields if name.lower() in SIGNATURES}
    return min(proofs or {"none"}, key=BEST_FIRST.index)


def faults(image, message):
    """What is wrong with one entry of the truth."""
    raw = as_stored(image, message)
    if raw is None:
        return
    if hashlib.sha256(raw).hexdigest() != message["sha256"]:
        yield "other bytes on the image"
        return
    found = signature(raw)
    if found != message["signature"]:
        yield f"the signature proves {found}, and not {message['signature']}"
    for part in email.message_from_bytes(raw).walk():
        yield from map(repr, part.defects)


def main():
    folder = pathlib.Path(sys.argv[1])
    counts, wrong = collections.Counter(), 0
    for scene in json.loads((folder / "truth.json").read_text())["scenes"]:
        image = (folder / scene["image"]).read_bytes()
        for message in scene["messages"]:
            counts[message["signature"]] += 1
            for fault in faults(image, message):
                wrong += 1
                print(f"{scene['image']} {message['cell']} at {message['extents'][0][0]}: {fault}", file=sys.stderr)
    print("  ".join(f"{name}: {count}" for name, count in sorted(counts.items())))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
