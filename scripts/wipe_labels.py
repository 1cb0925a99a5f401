#!/usr/bin/env python3
"""Copies the disks of an incident and zeroes the labels on the copies.

    scripts/wipe_labels.py FROM TO [--lvm]

FROM is a folder of raw images; TO is made and gets their copies, sparse, under the same names.
Superblocks of md are zeroed wherever a version of the format puts them. With --lvm the label
sectors of LVM are zeroed as well, wherever they lie on a disk, and their traces in parity: P
beside zeros is a copy of the label, Q a multiple of it. The texts of LVM's metadata stay, as
after `dd` over the first sectors of a physical volume. Prints a line for each thing zeroed.
"""

from __future__ import annotations

import argparse
import pathlib
import struct
import subprocess
from collections.abc import Iterator

SECTOR = 512
MD_MAGIC = 0xA92B4EFC
# As much as `mdadm --zero-superblock` clears.
SUPERBLOCK = 4096
PIECE = 16 << 20
LABEL = b"LABELONE"


def superblocks(disk: pathlib.Path) -> Iterator[tuple[str, int]]:
    """Every md superblock of a disk: the name of its version, and where it lies."""
    size = disk.stat().st_size
    places = [("1.1", 0), ("1.2", 4096), ("1.0", ((size // SECTOR - 16) & ~7) * SECTOR), ("0.90", (size & ~0xFFFF) - 0x10000)]
    with disk.open("rb") as file:
        for version, at in places:
            if at < 0:
                continue
            file.seek(at)
            head = file.read(4)
            # Version 0.90 is written in the machine's own byte order.
            orders = ("<I", ">I") if version == "0.90" else ("<I",)
            if len(head) == 4 and any(struct.unpack(order, head)[0] == MD_MAGIC for order in orders):
                yield f"md superblock {version}", at


def multiples(word: bytes) -> dict[bytes, int]:
    """A word times every power of 2 in the field of RAID-6, with the power."""
    found: dict[bytes, int] = {}
    for power in range(255):
        found[word] = power
        word = bytes((byte << 1) & 0xFF ^ (0x1D if byte & 0x80 else 0) for byte in word)
    return found


def labels(disk: pathlib.Path) -> Iterator[tuple[str, int]]:
    """Every label sector of LVM, and every multiple of one that parity may hold."""
    known = multiples(LABEL)
    types = multiples(b"LVM2 001")
    with disk.open("rb") as file:
        start = 0
        while piece := file.read(PIECE):
            for at in range(0, len(piece) - SECTOR + 1, SECTOR):
                power = known.get(piece[at : at + 8])
                if power is not None and types.get(piece[at + 24 : at + 32]) == power:
                    yield "LVM label" if power == 0 else f"LVM label times 2^{power}", start + at
            start += len(piece)


def wipe(source: pathlib.Path, target: pathlib.Path, lvm: bool) -> list[str]:
    """Copies one disk and zeroes its labels; a line for each."""
    subprocess.run(["cp", "--sparse=always", source, target], check=True)
    found = [(what, at, SUPERBLOCK) for what, at in superblocks(source)]
    if lvm:
        found += [(what, at, SECTOR) for what, at in labels(source)]
    target.chmod(0o644)
    with target.open("r+b") as file:
        for what, at, length in found:
            file.seek(at)
            file.write(bytes(length))
    return [f"{target.name}: {what} at {at}" for what, at, _ in found]


def wipe_all(source: pathlib.Path, target: pathlib.Path, lvm: bool) -> list[str]:
    """Copies and wipes all disks of a folder; a line for each label that was zeroed."""
    target.mkdir(parents=True)
    disks = sorted(path for path in source.iterdir() if path.is_file())
    return [line for disk in disks for line in wipe(disk, target / disk.name, lvm)]


def main() -> None:
    """Wipes what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path, metavar="FROM")
    parser.add_argument("target", type=pathlib.Path, metavar="TO")
    parser.add_argument("--lvm", action="store_true", help="zero the labels of LVM too")
    options = parser.parse_args()
    print("\n".join(wipe_all(options.source, options.target, options.lvm)))


if __name__ == "__main__":
    main()
