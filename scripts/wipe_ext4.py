#!/usr/bin/env python3
"""Zeroes all metadata of an ext4 image: what is left is what `restante carve` sees.

    scripts/wipe_ext4.py IMAGE WIPED

WIPED is a copy of IMAGE without superblocks, group descriptors, bitmaps, inode tables, journal
and directories, as dumpe2fs and debugfs (e2fsprogs) say where those are. How much comes back:

    restante recover CASE WIPED --to maildir:MAIL; scripts/score.py TRUTH MAIL
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def debugfs(image: str, request: str) -> str:
    return run("debugfs", "-R", request, image)


def blocks_of(image: str, file: str) -> set[int]:
    """The blocks of a file, by its path or <inode>, with those of its map."""
    return {int(word) for word in debugfs(image, f'blocks "{file}"').split() if word.isdigit()}


def of_directories(image: str) -> set[int]:
    blocks: set[int] = set()
    left = ["/"]
    while left:
        path = left.pop()
        blocks |= blocks_of(image, path)
        for line in debugfs(image, f'ls -p "{path}"').splitlines():
            fields = line.split("/")
            if len(fields) > 5 and fields[2].startswith("04") and fields[5] not in (".", ".."):
                left.append(f"{path.rstrip('/')}/{fields[5]}")
    return blocks


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    image, wiped = sys.argv[1:]
    layout = run("dumpe2fs", image)
    size = int(re.search(r"Block size:\s+(\d+)", layout)[1])
    blocks = of_directories(image) | blocks_of(image, "<8>")
    for found in re.finditer(r"(?:superblock|descriptors|GDT blocks|bitmap|table) at (\d+)(?:-(\d+))?", layout):
        blocks |= set(range(int(found[1]), int(found[2] or found[1]) + 1))
    shutil.copyfile(image, wiped)
    os.chmod(wiped, 0o644)
    with open(wiped, "r+b") as file:
        for block in sorted(blocks):
            file.seek(block * size)
            file.write(bytes(size))
    print(f"{len(blocks)} blocks of {size} bytes are zeros now")


if __name__ == "__main__":
    main()
