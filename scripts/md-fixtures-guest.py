"""Makes the arrays of `make-md-fixtures.py`; runs as root inside the lab's machine.

    python3 md-fixtures-guest.py OUT ONLY

Leaves OUT/manifest.json and OUT/ARRAY/MEMBER.img. Devices are loop devices over files in
memory: they begin as zeros, so parity holds from the start without a resync.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import struct
import subprocess
import sys
import time

KIB = 1024
MD = "/dev/md42"
SYS = "/sys/block/md42/md"
WORK = "/run/w"
MASK = (1 << 64) - 1


def content(sectors: int, generation: int) -> bytes:
    """What an array of this many sectors is filled with.

    Sector s holds its own number and generation in 8 bytes, then 63 times a word made of both.
    """
    parts = []
    for sector in range(sectors):
        number = sector | generation << 56
        word = (number + 1) * 0x9E3779B97F4A7C15 & MASK
        word ^= word >> 29
        parts.append(struct.pack("<Q", number) + struct.pack("<Q", word) * 63)
    return b"".join(parts)


def mdadm(*arguments: object) -> str:
    command = ["mdadm", *map(str, arguments)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print("+", *command, "\n" + done.stdout, flush=True)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout)
    return done.stdout


def get(name: str) -> str:
    with open(f"{SYS}/{name}") as file:
        return file.read().strip()


def put(name: str, value: object) -> None:
    with open(f"{SYS}/{name}", "w") as file:
        file.write(str(value))


def wait(what: str, until, seconds: float = 30) -> None:
    for _ in range(int(seconds * 10)):
        if until():
            return
        time.sleep(0.1)
    raise RuntimeError(f"waited in vain for {what}")


class Array:
    """One array being made. Steps are methods; `finish` copies the devices out."""

    def __init__(self, out: str, name: str):
        self.out = out
        self.name = name
        self.loops: list[str] = []
        self.facts: dict = {"name": name, "generation": 0, "stale": [], "spares": [], "notes": {}}

    def device(self, kib: int) -> str:
        path = f"{WORK}/{len(self.loops)}.img"
        with open(path, "wb") as file:
            file.truncate(kib * KIB)
        loop = subprocess.run(["losetup", "-f", "--show", path], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        self.loops.append(loop)
        return loop

    def create(self, level, sizes, *, chunk=None, layout=None, metadata="1.2", offset=None, label=None, extra=(), size=None, word=None, clean=True):
        loops = [self.device(kib) for kib in sizes]
        command = ["--create", MD, "--run", f"--level={level}", f"--metadata={metadata}", f"--raid-devices={len(loops)}"]
        command += [f"--chunk={chunk}"] if chunk else []
        command += [f"--layout={layout}"] if layout else []
        command += [f"--data-offset={offset}K"] if offset else []
        command += [f"--name={label}"] if label else []
        command += [f"--size={size}"] if size else []
        command += ["--assume-clean"] if clean and level not in (0, "linear") else []
        mdadm(*command, *extra, *loops)
        if word is not None:
            self.relayout(word)
        self.facts |= {"level": str(level), "metadata": metadata, "asked_layout": layout, "asked_chunk_kib": chunk}
        self.look()

    def relayout(self, word: int) -> None:
        """Gives an empty array of metadata 1.2 a layout that mdadm has no name for."""
        self.stop()
        for loop in self.loops:
            with open(loop, "r+b") as device:
                device.seek(4096)
                label = bytearray(device.read(4096))
                struct.pack_into("<I", label, 76, word)
                struct.pack_into("<I", label, 216, 0)
                used = 256 + 2 * struct.unpack_from("<I", label, 220)[0]
                total = sum(struct.unpack_from(f"<{used // 4}I", label))
                total += struct.unpack_from("<H", label, used - 2)[0] if used % 4 else 0
                struct.pack_into("<I", label, 216, ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF)
                device.seek(4096)
                device.write(label)
                os.fsync(device.fileno())
        self.assemble()

    def assemble(self, *which: int, extra=()) -> None:
        mdadm("--assemble", MD, "--run", *extra, *[self.loops[i] for i in which or range(len(self.loops))])

    def stop(self) -> None:
        for _ in range(20):
            with contextlib.suppress(subprocess.CalledProcessError):
                mdadm("--stop", MD)
                return
            time.sleep(0.5)
        raise RuntimeError("the array does not stop")

    def fill(self, generation: int = 0, start: int = 0, end: int | None = None) -> None:
        """Writes the content of `generation` from sector `start` to `end`."""
        sectors = self.sectors()
        data = content(sectors, generation)[start * 512 : (end or sectors) * 512]
        fd = os.open(MD, os.O_WRONLY)
        os.lseek(fd, start * 512, 0)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
        os.close(fd)
        if (start, end) == (0, None):
            self.facts["generation"] = generation

    def sectors(self) -> int:
        with open("/sys/block/md42/size") as file:
            return int(file.read())

    def look(self) -> None:
        """Notes down what the kernel says of the running array."""
        self.facts["bytes"] = self.sectors() * 512
        for key, file in [("chunk_bytes", "chunk_size"), ("layout", "layout"), ("raid_disks", "raid_disks"), ("metadata", "metadata_version")]:
            with contextlib.suppress(OSError, FileNotFoundError):
                value = get(file).split()[0] if get(file) else ""
                self.facts[key] = int(value) if value.isdigit() else value
        slots = {}
        for folder in glob.glob(f"{SYS}/dev-*"):
            loop = "/dev/" + os.path.basename(folder).removeprefix("dev-")
            with open(f"{folder}/slot") as file:
                slots[self.loops.index(loop)] = file.read().strip()
        self.facts["slots"] = [slots.get(i, "gone") for i in range(len(self.loops))]

    def finish(self) -> None:
        for index, loop in enumerate(self.loops):
            subprocess.run(["losetup", "-d", loop], check=True)
            self.copy(index)

    def copy(self, index: int) -> None:
        os.makedirs(f"{self.out}/{self.name}", exist_ok=True)
        target = f"{self.out}/{self.name}/{index:02}.img"
        if not os.path.exists(target):
            shutil.copyfile(f"{WORK}/{index}.img", target)


def plain(**what):
    """An array that is made, filled and stopped."""

    def make(array: Array) -> None:
        array.create(**what)
        array.fill()
        array.stop()

    return make


def stale(members, failed, **what):
    """An array that lost members, was written on, and is shown with the old members again."""

    def make(array: Array) -> None:
        array.create(sizes=members, **what)
        array.fill(1)
        for index in failed:
            mdadm(MD, "--fail", array.loops[index])
            wait("the failure", lambda index=index: "faulty" in get(f"dev-{os.path.basename(array.loops[index])}/state"))
            mdadm(MD, "--remove", array.loops[index])
        array.fill(2)
        array.facts["stale"] = failed
        array.stop()

    return make


def spare(array: Array) -> None:
    array.create(5, [1280] * 3, chunk=16, offset=256)
    mdadm(MD, "--add", array.device(1280))
    array.facts["spares"] = [3]
    array.fill()
    array.look()
    array.stop()


def rebuilding(level, count, at, **what):
    """An array whose last member is rebuilt up to sector `at` of its data."""

    def make(array: Array) -> None:
        array.create(level, [2304] * count, offset=256, **what)
        array.fill(3)
        last = array.loops[-1]
        mdadm(MD, "--fail", last)
        wait("the failure", lambda: "faulty" in get(f"dev-{os.path.basename(last)}/state"))
        mdadm(MD, "--remove", last)
        subprocess.run(["dd", "if=/dev/zero", f"of={last}", "bs=64K", "count=36", "conv=fsync"], check=True)
        put("sync_max", at)
        mdadm(MD, "--add", last)
        wait("the rebuild", lambda: get("sync_completed").split()[0] == str(at), 60)
        array.facts["notes"]["recovery_offset"] = at
        array.stop()

    return make


def resyncing(array: Array) -> None:
    """A mirror whose first resync had come to sector 1024 when it was stopped."""
    array.create(1, [2304] * 2, offset=256, extra=["--bitmap=none"])
    array.fill()
    put("sync_action", "frozen")
    put("resync_start", 1024)
    array.facts["notes"]["resync_offset"] = 1024
    array.stop()


def replacing(array: Array) -> None:
    """An array whose second member is being replaced, up to sector 1536 of its data."""
    array.create(5, [2304] * 3, chunk=16, offset=256)
    array.fill(3)
    mdadm(MD, "--add", array.device(2304))
    put("sync_max", 1536)
    mdadm(MD, "--replace", array.loops[1], "--with", array.loops[3])
    wait("the rebuild", lambda: get("sync_completed").split()[0] == "1536", 60)
    array.facts["notes"]["replacement"] = 3
    array.look()
    array.stop()


def reshaping(array: Array, growth: list) -> None:
    put("sync_speed_min", 1)
    put("sync_speed_max", 40)
    mdadm("--grow", MD, *growth)
    wait("the reshape", lambda: get("reshape_position") not in ("none", "0"))
    time.sleep(2)
    array.facts["notes"]["reshape"] = True
    array.look()
    array.stop()


def growing(array: Array) -> None:
    array.create(5, [6144] * 3, chunk=16, offset=1024)
    array.fill()
    mdadm(MD, "--add", array.device(6144))
    reshaping(array, ["--raid-devices=4"])


def rechunking(array: Array) -> None:
    array.create(5, [6144] * 4, chunk=16, offset=1024)
    array.fill()
    reshaping(array, ["--chunk=32"])


def dirty(level, count, **what):
    """An array whose power was cut between writes: its labels say that it is in use."""

    def make(array: Array) -> None:
        array.create(level, [1280] * count, offset=256, **what)
        put("safe_mode_delay", 0)
        array.fill()
        wait("the dirty label", lambda: get("array_state") == "active")
        os.sync()
        time.sleep(1)
        for index in range(count):
            array.copy(index)
        array.stop()

    return make


def bad_blocks(level, count, bad, **what):
    """An array with bad blocks on record: `bad` is (member, sector on device, sectors)."""

    def make(array: Array) -> None:
        array.create(level, [1280] * count, offset=256, **what)
        array.fill()
        for member, sector, sectors in bad:
            put(f"dev-{os.path.basename(array.loops[member])}/bad_blocks", f"{sector} {sectors}\n")
        array.facts["notes"]["bad_blocks"] = bad
        # Any write makes the labels, and the log with them, be written.
        array.fill(0, 0, 8)
        array.stop()

    return make


def journal(array: Array) -> None:
    log = array.device(4096 + 1024)
    array.create(5, [1280] * 3, chunk=16, extra=["--write-journal", log])
    array.facts["notes"]["journal"] = 0
    array.fill()
    array.stop()


def regular() -> dict:
    arrays = {}
    five = ["left-asymmetric", "right-asymmetric", "left-symmetric", "right-symmetric", "parity-first", "parity-last"]
    six = five + ["ddf-zero-restart", "ddf-N-restart", "ddf-N-continue", "left-asymmetric-6", "right-asymmetric-6", "left-symmetric-6", "right-symmetric-6", "parity-first-6"]
    for i, layout in enumerate(five):
        arrays[f"raid5-{layout}"] = plain(level=5, sizes=[1024] * 4, layout=layout, chunk=[4, 8, 16, 32, 64, 16][i], offset=[64, 128, 256][i % 3])
    for i, layout in enumerate(six):
        arrays[f"raid6-{layout}"] = plain(level=6, sizes=[1024] * 5, layout=layout, chunk=[4, 8, 16, 32][i % 4], offset=[64, 128, 256][i % 3])
    for i, layout in enumerate(["ddf-N-restart", "right-asymmetric", "left-symmetric-6", "left-symmetric"]):
        arrays[f"raid6-{layout}-seven"] = plain(level=6, sizes=[768] * 7, layout=layout, chunk=[4, 16, 8, 64][i], offset=128)
    arrays["raid5-two"] = plain(level=5, sizes=[1024] * 2, chunk=16, offset=128)
    arrays["raid5-nine"] = plain(level=5, sizes=[512] * 9, chunk=4, offset=64)
    arrays["raid5-512k"] = plain(level=5, sizes=[2304] * 3, chunk=512, offset=256)
    arrays["raid5-defaults"] = plain(level=5, sizes=[5120] * 3, label="mail", extra=["--homehost=vault"])
    arrays["raid5-size"] = plain(level=5, sizes=[1024] * 3, chunk=16, offset=128, size=600)
    arrays["raid6-four"] = plain(level=6, sizes=[1024] * 4, chunk=32, offset=128)
    arrays["raid4"] = plain(level=4, sizes=[1024] * 4, chunk=16, offset=128)
    for metadata in ["0.90", "1.0", "1.1", "1.2"]:
        more = {} if metadata in ("0.90", "1.0") else {"offset": 128}
        arrays[f"raid1-{metadata}"] = plain(level=1, sizes=[1024] * 2, metadata=metadata, **more)
        arrays[f"raid5-{metadata}"] = plain(level=5, sizes=[1024] * 3, chunk=64, metadata=metadata, **more)
        if metadata != "0.90":  # which mdadm since 4.2 does not make for RAID-0
            arrays[f"raid0-{metadata}"] = plain(level=0, sizes=[1024] * 3, chunk=32, metadata=metadata, **more)
        arrays[f"linear-{metadata}"] = plain(level="linear", sizes=[1024, 700, 1300], metadata=metadata, **more)
    arrays["raid6-0.90"] = plain(level=6, sizes=[1024] * 4, chunk=64, metadata="0.90")
    arrays["raid10-0.90"] = plain(level=10, sizes=[1024] * 4, chunk=64, metadata="0.90", layout="n2")
    arrays["raid10-1.0"] = plain(level=10, sizes=[1024] * 3, chunk=64, metadata="1.0", layout="f2")
    arrays["raid1-three"] = plain(level=1, sizes=[1024] * 3, offset=128, label="vault:boot")
    for layout in ["original", "alternate"]:
        arrays[f"raid0-zones-{layout}"] = plain(level=0, sizes=[1000, 600, 1500, 600, 1200], chunk=16, layout=layout, offset=128)
        arrays[f"raid0-two-zones-{layout}"] = plain(level=0, sizes=[900, 1430, 1430], chunk=32, layout=layout, offset=64)
    arrays["raid0-12k"] = plain(level=0, sizes=[1024, 800, 1024], chunk=12, layout="alternate", offset=128)
    arrays["raid0-12k-original"] = plain(level=0, sizes=[1024, 801, 1024], chunk=12, layout="original", offset=128)
    arrays["linear-rounding"] = plain(level="linear", sizes=[1001, 702], offset=128, extra=["--rounding=64"])
    for disks, layouts in {2: ["n2", "f2", "o2"], 3: ["n2", "n3", "f2", "f3", "o2", "o3"], 4: ["n2", "f2", "o2", "n3"], 5: ["n2", "f2", "o3", "n4"]}.items():
        for i, layout in enumerate(layouts):
            arrays[f"raid10-{layout}-{disks}"] = plain(level=10, sizes=[900] * disks, chunk=[4, 16, 64][i % 3], layout=layout, offset=128)
    # Bits that mdadm has no words for: far sets (17, 18), and near with far together.
    arrays["raid10-sets17-4"] = plain(level=10, sizes=[900] * 4, chunk=16, layout="f2", offset=128, word=0x20201)
    arrays["raid10-sets17-6"] = plain(level=10, sizes=[700] * 6, chunk=16, layout="f2", offset=128, word=0x20201)
    arrays["raid10-sets18-4"] = plain(level=10, sizes=[900] * 4, chunk=16, layout="f2", offset=128, word=0x40201)
    arrays["raid10-sets18-5"] = plain(level=10, sizes=[900] * 5, chunk=16, layout="f2", offset=128, word=0x40201)
    arrays["raid10-sets18-7"] = plain(level=10, sizes=[600] * 7, chunk=4, layout="f3", offset=128, word=0x40301)
    arrays["raid10-sets18-offset-5"] = plain(level=10, sizes=[900] * 5, chunk=16, layout="o2", offset=128, word=0x50201)
    arrays["raid10-n2f2-4"] = plain(level=10, sizes=[900] * 4, chunk=16, layout="f2", offset=128, word=0x202)
    arrays["raid10-n2f2-5"] = plain(level=10, sizes=[900] * 5, chunk=16, layout="f2", offset=128, word=0x202)
    return arrays


def special() -> dict:
    return {
        "stale-raid1": stale([1024] * 2, [1], level=1, offset=128),
        "stale-raid5": stale([1024] * 4, [2], level=5, chunk=16, offset=128),
        "stale-raid6": stale([1024] * 5, [0, 3], level=6, chunk=16, offset=128),
        "stale-raid10": stale([1024] * 4, [3], level=10, chunk=16, offset=128, layout="n2"),
        "stale-0.90": stale([1024] * 3, [0], level=5, chunk=64, metadata="0.90"),
        "spare": spare,
        "rebuilding-raid5": rebuilding(5, 4, 1536, chunk=16),
        "rebuilding-raid6": rebuilding(6, 5, 1024, chunk=32),
        "rebuilding-raid1": rebuilding(1, 2, 1536, extra=["--bitmap=none"]),
        "rebuilding-raid10": rebuilding(10, 4, 2048, chunk=64, layout="n2"),
        "resyncing-raid1": resyncing,
        "replacing-raid5": replacing,
        "growing-raid5": growing,
        "rechunking-raid5": rechunking,
        "dirty-raid5": dirty(5, 3, chunk=16),
        "dirty-raid6": dirty(6, 4, chunk=16),
        "bad-blocks-raid1": bad_blocks(1, 2, [(0, 600, 8), (1, 700, 16)]),
        "bad-blocks-raid5": bad_blocks(5, 4, [(0, 640, 8), (2, 640, 4), (1, 900, 32)], chunk=16),
        "journal": journal,
    }


def main() -> None:
    out, only = sys.argv[1:3]
    manifest = []
    for name, make in {**regular(), **special()}.items():
        if only not in name:
            continue
        shutil.rmtree(WORK, ignore_errors=True)
        os.makedirs(WORK)
        array = Array(out, name)
        begun = time.time()
        try:
            make(array)
            array.finish()
            manifest.append(array.facts)
            print(f"DONE {name} {time.time() - begun:.1f} s", flush=True)
        except Exception as error:  # One array that this kernel or mdadm cannot make is no reason to lose the rest.
            print(f"SKIP {name}: {error!r}", flush=True)
            shutil.rmtree(f"{out}/{name}", ignore_errors=True)
            subprocess.run(["mdadm", "--stop", MD], check=False)
            subprocess.run(["losetup", "-D"], check=False)
            time.sleep(1)
    with open(f"{out}/manifest.json", "w") as file:
        json.dump(manifest, file, indent=1)


if __name__ == "__main__":
    main()
