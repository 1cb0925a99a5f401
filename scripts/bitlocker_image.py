#!/usr/bin/env python3
"""Writes the start of a BitLocker volume: bitlocker_image.py IMAGE

Nothing here makes BitLocker volumes, so the boot sector, three copies of the metadata, two locked
keys, the moved start and the description are laid down by hand after *BitLocker Drive Encryption
(BDE) format* of libbde; cryptsetup reads it (crates/aggregate/tests/encrypted/bitlocker.rs). What
is encrypted is not there.
"""
import struct
import sys
import uuid

COPIES = [1 << 20, 2 << 20, 3 << 20]
SIZE = 4 << 20
MOVED_START = 0x38_0000
IDENTIFIER = uuid.UUID("4967d63b-2e29-4ad8-8399-f6a339e3d001").bytes_le
FILETIME = 0x01D6_2200_0000_0000


def entry(kind, value, data):
    return struct.pack("<4H", len(data) + 8, kind, value, 1) + data


def volume_master_key(lock, number):
    """Locked: the salt of a stretched key, and the key that it encrypts."""
    stretched = struct.pack("<I", 0x1000) + bytes([number] * 16)
    data = bytes([number] * 16) + struct.pack("<QHH", FILETIME, 0, lock)
    data += entry(0, 3, stretched) + entry(0, 5, bytes([number] * 60))
    return entry(2, 8, data)


def metadata():
    entries = volume_master_key(0x2000, 0x11) + volume_master_key(0x0800, 0x22)
    entries += entry(3, 5, bytes([0x33] * 60))
    entries += entry(15, 15, struct.pack("<2Q", MOVED_START, 8192))
    entries += entry(7, 2, "STORE D: 5/5/2020\0".encode("utf-16-le"))
    size = 48 + len(entries)
    block = b"-FVE-FS-" + struct.pack("<4H", (size + 64) // 16 + 1, 2, 4, 4)
    block += struct.pack("<QIIQQQQ", SIZE, 0, 16, *COPIES, MOVED_START)
    block += struct.pack("<4I", size, 1, 48, size) + bytes([0x44] * 16)
    block += struct.pack("<IIQ", 5, 0x8005, FILETIME)
    return block + entries


def main(path):
    image = bytearray(SIZE)
    image[:14] = b"\xeb\x58\x90-FVE-FS-\x00\x02\x08"
    image[160:200] = IDENTIFIER + struct.pack("<3Q", *COPIES)
    image[510:512] = b"\x55\xaa"
    for copy in COPIES:
        block = metadata()
        image[copy : copy + len(block)] = block
    with open(path, "wb") as file:
        file.write(image)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
