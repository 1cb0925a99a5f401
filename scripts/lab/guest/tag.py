"""Runs in the guest: learns where each block of a volume lies on the disks.

tag.py write DEVICE ID     fills DEVICE with numbered 4 KiB blocks
tag.py find OUT DISK...    finds them on the raw disks; OUT gets <volume u32, block u64, disk u32, disk block u32>
"""

import os
import struct
import sys

BLOCK = 4096
MAGIC = b"LABTAG01"
WINDOW = 1 << 20


def write(device: str, volume: int) -> None:
    """Numbers every block of the device."""
    out = os.open(device, os.O_WRONLY)
    blocks = os.lseek(out, 0, os.SEEK_END) // BLOCK
    os.lseek(out, 0, os.SEEK_SET)
    for first in range(0, blocks, WINDOW // BLOCK):
        window = b"".join(
            (MAGIC + struct.pack("<IQ", volume, block)).ljust(BLOCK, b"\xa5")
            for block in range(first, min(blocks, first + WINDOW // BLOCK))
        )
        while window:
            window = window[os.write(out, window) :]
    os.fsync(out)


def find(out_path: str, disks: list[str]) -> None:
    """Writes one record for every numbered block that lies on a disk."""
    with open(out_path, "wb") as out:
        for number, path in enumerate(disks):
            with open(path, "rb") as disk:
                base = 0
                while window := disk.read(WINDOW):
                    for at in range(0, len(window), BLOCK):
                        if window[at : at + 8] == MAGIC:
                            volume, block = struct.unpack_from("<IQ", window, at + 8)
                            out.write(struct.pack("<IQII", volume, block, number, base + at // BLOCK))
                    base += len(window) // BLOCK


if sys.argv[1] == "write":
    write(sys.argv[2], int(sys.argv[3]))
else:
    find(sys.argv[2], sys.argv[3:])
