"""Runs in the guest: check.py OUT NAME=FOLDER...  hashes every file below the mounted volumes."""

import hashlib
import json
import os
import sys

with open(sys.argv[1], "w") as out:
    for pair in sys.argv[2:]:
        name, _, top = pair.partition("=")
        for folder, _, files in os.walk(top):
            for file in files:
                path = os.path.join(folder, file)
                with open(path, "rb") as data:
                    sha = hashlib.sha256(data.read()).hexdigest()
                record = {"volume": name, "rel": os.path.relpath(path, top), "sha256": sha, "mtime": int(os.stat(path).st_mtime)}
                out.write(json.dumps(record) + "\n")
