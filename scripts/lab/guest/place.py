"""Runs in the guest: lays a staged mail tree onto mounted volumes in the order of delivery.

place.py PLAN STAGE OUT    PLAN: {"ops": [...], "mounts": {volume: folder}}

OUT gets a line a file: where its extents lie ([logical, physical, length, flags] in bytes)
and whether it was deleted. The operations are the methods of `Placer` below.
"""

import fcntl
import json
import os
import random
import shutil
import struct
import sys
import zlib

FS_IOC_FIEMAP = 0xC020660B
FIEMAP_FLAG_SYNC = 1
MAIL_UID = 5000


def fiemap(path):
    """The extents of a file, at most 512."""
    head = struct.Struct("=QQLLLL")
    extent = struct.Struct("=QQQQQLLLL")
    room = 512
    buf = bytearray(head.pack(0, 2**64 - 1, FIEMAP_FLAG_SYNC, 0, room, 0) + bytes(extent.size * room))
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, FS_IOC_FIEMAP, buf)
    finally:
        os.close(fd)
    mapped = head.unpack_from(buf)[3]
    if mapped >= room:
        raise SystemExit(f"{path}: more than {room} extents")
    rows = [extent.unpack_from(buf, head.size + extent.size * row) for row in range(mapped)]
    return [[logical, physical, length, flags] for logical, physical, length, _, _, flags, *_ in rows]


def junk(size, seed):
    """Somebody else's file: prose, a packed archive, or bytes of a picture."""
    rng = random.Random(seed)
    kind = rng.choice(["text", "text", "packed", "noise"])
    if kind == "noise":
        return rng.randbytes(min(size, 6000)).ljust(size, b"\0")
    prose = b""
    while len(prose) < size:
        prose += rng.choice(TEXTS)
    return prose[:size] if kind == "text" else zlib.compress(prose[:size])


class Placer:
    """Carries the operations out and remembers what lives where."""

    def __init__(self, plan, stage, out):
        self.mounts = plan["mounts"]
        self.stage = stage
        self.out = out
        self.live = {}  # relative name -> (path, volume)
        self.unsettled = []
        self.late = False

    def path(self, rel, volume):
        """The path of a file on its volume, whose folder it makes."""
        path = os.path.join(self.mounts[volume], rel)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def put(self, rel, volume):
        """Copies a file from the stage, with its times."""
        path = self.path(rel, volume)
        shutil.copy2(os.path.join(self.stage, rel), path)
        os.chown(path, MAIL_UID, MAIL_UID)
        self.live[rel] = (path, volume)
        self.unsettled.append(path)

    def junk(self, rel, volume, size, seed):
        """Writes a file that is no mail."""
        path = self.path(rel, volume)
        with open(path, "wb") as file:
            file.write(junk(size, seed))
        self.live[rel] = (path, volume)
        self.unsettled.append(path)

    def settle(self):
        """Brings everything to the disk; once `late`, no further than to the journal."""
        if not self.late:
            os.sync()
        else:
            for path in self.unsettled:
                if os.path.exists(path):
                    for name in (path, os.path.dirname(path)):
                        fd = os.open(name, os.O_RDONLY)
                        os.fsync(fd)
                        os.close(fd)
        self.unsettled.clear()

    def hold_back(self):
        """From here on metadata goes to the journal only: the machine is about to be cut off."""
        os.sync()
        self.late = True
        for knob, value in (("dirty_writeback_centisecs", "0"), ("dirty_expire_centisecs", "600000")):
            with open(f"/proc/sys/vm/{knob}", "w") as file:
                file.write(value)

    def delete(self, rel):
        """Notes where a file lies and deletes it."""
        self.settle()
        path, volume = self.live.pop(rel)
        self.note(rel, path, volume, True)
        os.unlink(path)

    def shell(self, command):
        """Runs a command of the spec, such as a snapshot."""
        os.sync()
        if os.system(command) != 0:
            raise SystemExit(f"failed: {command}")

    def rmtree(self, prefix, volume):
        """Deletes an account."""
        self.settle()
        for rel in [rel for rel in self.live if rel.startswith(prefix)]:
            path, where = self.live.pop(rel)
            self.note(rel, path, where, True)
        shutil.rmtree(os.path.join(self.mounts[volume], prefix))

    def age(self, volume, seed, keep):
        """Fills a volume with other files, then frees scattered holes, as years of use do."""
        rng = random.Random(seed)
        names = []
        top = self.mounts[volume]
        while os.statvfs(top).f_bavail > os.statvfs(top).f_blocks * 0.012:
            for _ in range(50):
                rel = f"spool/old/{len(names)}"
                try:
                    self.junk(rel, volume, rng.choice([3000, 4096, 9000, 14000, 30000]), rng.getrandbits(30))
                except OSError:
                    break
                names.append(rel)
            os.sync()
        for rel in rng.sample(names, int(len(names) * (1 - keep))):
            os.unlink(self.live.pop(rel)[0])
        os.sync()

    def note(self, rel, path, volume, deleted):
        """Writes one line of OUT."""
        self.out.write(json.dumps({"rel": rel, "volume": volume, "deleted": deleted, "extents": fiemap(path)}) + "\n")

    def finish(self):
        """Settles, notes all that lives, and gives the folders to the mail user."""
        for top in self.mounts.values():
            for folder, _, _ in os.walk(top):
                if folder != top:
                    os.chown(folder, MAIL_UID, MAIL_UID)
        self.unsettled += [path for path, _ in self.live.values()]
        self.settle()
        for rel, (path, volume) in self.live.items():
            self.note(rel, path, volume, False)
        if not self.late:
            os.sync()


def texts():
    """The prose that came with the job."""
    out = []
    for name in sorted(os.listdir(".")):
        if name.startswith("text-"):
            with open(name, "rb") as file:
                out.append(file.read())
    return out


TEXTS = texts()
with open(sys.argv[1]) as plan_file, open(sys.argv[3], "w") as out_file:
    plan_data = json.load(plan_file)
    placer = Placer(plan_data, sys.argv[2], out_file)
    for operation, *arguments in plan_data["ops"]:
        getattr(placer, operation)(*arguments)
    placer.finish()
