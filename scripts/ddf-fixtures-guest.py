"""Makes the virtual disks of `make-ddf-fixtures.py`; runs as root inside the lab's machine.

    python3 guest.py OUT

Leaves OUT/manifest.json and OUT/SET/DISK@OFFSET, the pieces of each disk that are not zeros.
`md_guest.py` is `md-fixtures-guest.py`, which says what sectors hold.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import subprocess
import sys
import time

from md_guest import WORK, content, mdadm

CONTAINER = "/dev/md127"
# mdadm leaves the last 32 MiB of a disk to the structures of DDF.
DISK_KIB = 33 * 1024
PIECE = 4096


class Disks:
    """The physical disks of one set. Steps are methods; `finish` copies the disks out."""

    def __init__(self, out: str, name: str, count: int):
        self.out, self.name = out, name
        self.paths = [f"{WORK}/{name}-{number}.img" for number in range(count)]
        self.virtual: list[dict] = []
        self.stale: list[int] = []
        for path in self.paths:
            with open(path, "wb") as file:
                file.truncate(DISK_KIB * 1024)
        self.loops = [
            subprocess.run(["losetup", "-f", "--show", path], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
            for path in self.paths
        ]

    def container(self, order: list[int]) -> None:
        mdadm("--create", CONTAINER, "--run", "--metadata=ddf", f"--raid-devices={len(order)}", *[self.loops[i] for i in order])

    def create(self, name: str, level, count: int, chunk=None, layout=None, kib=None) -> None:
        device = f"/dev/md{10 + len(self.virtual)}"
        options = [f"--level={level}", f"--raid-devices={count}", f"--name={name}"]
        options += [f"--chunk={chunk}"] if chunk else []
        options += [f"--layout={layout}"] if layout else []
        options += [f"--size={kib}"] if kib else []
        mdadm("--create", device, "--run", *options, CONTAINER)
        number = device.removeprefix("/dev/md")
        with open(f"/sys/block/md{number}/size") as file:
            size = int(file.read()) * 512
        self.virtual.append({"name": name, "level": str(level), "device": device, "bytes": size, "generation": 0})
        with contextlib.suppress(subprocess.CalledProcessError):
            mdadm("--wait", device)

    def fill(self, number: int, generation: int) -> None:
        one = self.virtual[number]
        fd = os.open(one["device"], os.O_WRONLY)
        view = memoryview(content(one["bytes"] // 512, generation))
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
        os.close(fd)
        one["generation"] = generation

    def fail(self, number: int, disk: int) -> None:
        """Fails a disk, whose structures stay as they were, and waits until the others say so."""
        mdadm(self.virtual[number]["device"], "--fail", self.loops[disk])
        time.sleep(3)
        self.stale.append(disk)

    def stop(self) -> None:
        for one in [*reversed(self.virtual), {"device": CONTAINER}]:
            for _ in range(20):
                with contextlib.suppress(subprocess.CalledProcessError):
                    mdadm("--stop", one["device"])
                    break
                time.sleep(0.5)

    def facts(self) -> dict:
        return {"name": self.name, "disks": len(self.paths), "disk_bytes": DISK_KIB * 1024, "virtual": self.virtual, "stale": self.stale}

    def detach(self) -> None:
        for loop in self.loops:
            subprocess.run(["losetup", "-d", loop], check=True)

    def finish(self) -> None:
        os.makedirs(f"{self.out}/{self.name}", exist_ok=True)
        self.detach()
        for number, path in enumerate(self.paths):
            with open(path, "rb") as file:
                data = file.read()
            start = None
            for at in range(0, len(data) + 1, PIECE):
                piece = data[at : at + PIECE]
                if piece.strip(b"\0") and start is None:
                    start = at
                elif start is not None and not piece.strip(b"\0"):
                    with open(f"{self.out}/{self.name}/{number:02}@{start}", "wb") as file:
                        file.write(data[start:at])
                    start = None


def plain(order: list[int], *virtual: dict):
    """Virtual disks that are made, filled and stopped."""

    def make(disks: Disks) -> None:
        disks.container(order)
        for number, one in enumerate(virtual):
            disks.create(**one)
            disks.fill(number, number + 1)
        disks.stop()

    return len(order), make


def stale(order: list[int], failed: int, **virtual):
    """A virtual disk that lost a disk, was written on, and is shown with that disk again."""

    def make(disks: Disks) -> None:
        disks.container(order)
        disks.create(**virtual)
        disks.fill(0, 1)
        disks.fail(0, failed)
        disks.fill(0, 2)
        disks.stop()

    return len(order), make


def sets() -> dict:
    return {
        "raid0": plain([2, 0, 1], {"name": "mail", "level": 0, "count": 3, "chunk": 16}),
        "raid1": plain([1, 0], {"name": "mail", "level": 1, "count": 2}),
        "raid5-left-symmetric": plain([2, 0, 3, 1], {"name": "mail", "level": 5, "count": 4, "chunk": 32, "layout": "left-symmetric"}),
        "raid5-left-asymmetric": plain([2, 0, 3, 1], {"name": "mail", "level": 5, "count": 4, "chunk": 8, "layout": "left-asymmetric"}),
        "raid5-right-asymmetric": plain([2, 0, 3, 1], {"name": "mail", "level": 5, "count": 4, "chunk": 64, "layout": "right-asymmetric"}),
        "raid6-zero-restart": plain([4, 2, 0, 3, 1], {"name": "mail", "level": 6, "count": 5, "chunk": 16, "layout": "ddf-zero-restart"}),
        "raid6-n-restart": plain([4, 2, 0, 3, 1], {"name": "mail", "level": 6, "count": 5, "chunk": 16, "layout": "ddf-N-restart"}),
        "raid6-n-continue": plain([4, 2, 0, 3, 1], {"name": "mail", "level": 6, "count": 5, "chunk": 16, "layout": "ddf-N-continue"}),
        "raid10": plain([3, 1, 0, 2], {"name": "mail", "level": 10, "count": 4, "chunk": 16}),
        "raid1e-adjacent": plain([1, 2, 0], {"name": "mail", "level": 10, "count": 3, "chunk": 16, "layout": "n2"}),
        "two": plain(
            [3, 1, 0, 2],
            {"name": "0", "level": 5, "count": 4, "chunk": 32, "kib": 512},
            {"name": "logs", "level": 1, "count": 2, "kib": 256},
        ),
        "stale": stale([3, 1, 0, 2], 1, name="mail", level=5, count=4, chunk=32),
    }


def main(out: str) -> None:
    os.makedirs(WORK, exist_ok=True)
    manifest = []
    for name, (count, make) in sets().items():
        disks = Disks(out, name, count)
        try:
            make(disks)
            manifest.append(disks.facts())
        except subprocess.CalledProcessError as error:
            print(f"SKIP {name}: {error.output}", flush=True)
            disks.stop()
            disks.detach()
        else:
            disks.finish()
    for path in glob.glob(f"{WORK}/*.img"):
        os.remove(path)
    with open(f"{out}/manifest.json", "w") as file:
        json.dump(manifest, file, indent=1)


if __name__ == "__main__":
    main(sys.argv[1])
