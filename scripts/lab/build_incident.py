#!/usr/bin/env python3
"""Builds one incident: real arrays, filled by a real Dovecot, broken as a spec says.

    scripts/lab/build_incident.py SPEC.json OUT

Leaves OUT/disks.tar.zst (sparse raw images in shuffled order, disk-a.img and so on),
OUT/truth.json (what was there and what can still be had) and OUT/spec.json.

Where each message lies is learnt, not computed: a first run writes numbered blocks over
every volume of an identical array and finds the numbers on the raw disks. `survives` in the
truth says whether every block of a message still exists on the remaining disks or can be
had from parity. A spec, all shell being bash in the guest with `vm.PRELUDE`:

| key | what |
|---|---|
| `seed` | every choice comes from it (but Dovecot's clock and UUIDs, so no two builds are equal) |
| `mail` | see population.py; also `deleted`, the share of messages deleted before the incident |
| `disks` | size of each disk in MiB |
| `build`, `mkfs`, `stop` | shell that makes arrays and volumes, file systems, and takes them down |
| `volumes` | name to device; account number i goes to volume i modulo their number |
| `mount_opts` | for mount(8) |
| `groups` | `{"disks": [...], "parity": n}`: rows of these disks survive n losses |
| `map` | false: do not learn where blocks lie; the truth then has no `survives` |
| `junk`, `junk_max` | chance of another file between two messages, its greatest size |
| `age` | first fill the volume with other files and keep this share |
| `mid` | shell run at two thirds of the filling, such as a snapshot |
| `rm_accounts` | numbers of accounts deleted whole |
| `crash` | no clean end: from this share of the filling on, metadata reaches the journal only, then the power goes |
| `incident` | shell that does the damage |
| `overwrite` | list of [disk, byte offset, length, "zero" or "random"] |
| `bitflips` | disk to number of flipped bits |
| `missing` | disks that are not handed over |
| `carve_only` | wipe all but file contents of the only disk |
| `assemble` | shell that starts the array from what is left; if given, the guest mounts it and the truth is checked against what it reads |
| `extents` | true: keep each message's extents in the truth |
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import dovecot_read
from lab import population, vm

HERE = pathlib.Path(__file__).resolve().parent
BLOCK = 4096


def say(*words: object) -> None:
    """Progress on standard error."""
    print(f"[{time.strftime('%H:%M:%S')}]", *words, file=sys.stderr, flush=True)


class Incident:
    """One build: the spec, a scratch folder, and the disks in it."""

    def __init__(self, spec: dict, scratch: pathlib.Path):
        self.spec = spec
        self.scratch = scratch
        self.rng = random.Random(spec["seed"])
        self.disks = [scratch / f"disk{number}.img" for number in range(len(spec["disks"]))]
        self.base = scratch / "vmail"
        self.volumes: dict[str, str] = spec["volumes"]
        self.files = [(path.name, path.read_bytes()) for path in sorted((HERE / "guest").glob("*.py"))]
        self.files += [(f"text-{path.name}", path.read_bytes()) for path in sorted((HERE / "text").glob("*.txt"))]

    def shell(self, *keys: str) -> str:
        """The prelude and the spec's shell under `keys`."""
        return vm.PRELUDE + "".join("\n".join(self.spec.get(key, [])) + "\n" for key in keys)

    def fresh(self) -> None:
        """Empties all disks."""
        for path, mib in zip(self.disks, self.spec["disks"]):
            with open(path, "wb") as image:
                image.truncate(int(mib) << 20)

    def mounts(self) -> dict[str, str]:
        """Volume name to mount point in the guest."""
        return {name: f"/mnt/{name}" for name in self.volumes}

    def mount_shell(self, options: str) -> str:
        """Mounts all volumes below a tmpfs on /mnt."""
        lines = ["mount -t tmpfs t /mnt"]
        for name, top in self.mounts().items():
            lines.append(f"mkdir -p {top} && mount {options} {self.volumes[name]} {top}")
        return "\n".join(lines) + "\n"

    def umount_shell(self) -> str:
        """Takes the mounts down."""
        return "".join(f"umount {top}\n" for top in self.mounts().values())

    def learn(self) -> dict[str, dict[int, list[tuple[int, int]]]]:
        """Volume and block to every (disk, disk block) where a copy lies."""
        where: dict[str, dict[int, list[tuple[int, int]]]] = collections.defaultdict(dict)
        self.fresh()
        job = self.shell("build")
        for number, device in enumerate(self.volumes.values()):
            job += f"python3 tag.py write {device} {number}\n"
        names = " ".join(f"$D{number}" for number in range(len(self.disks)))
        job += "sync\n" + "\n".join(self.spec.get("stop", [])) + f"\npython3 tag.py find /run/out/tags {names}\n"
        got = vm.run(job, self.disks, files=self.files)
        volume_names = list(self.volumes)
        for volume, block, disk, disk_block in struct.iter_unpack("<IQII", got["tags"]):
            where[volume_names[volume]].setdefault(block, []).append((disk, disk_block))
        return where

    def operations(self, delivered: list[dict], files: list[str]) -> list[list]:
        """What the guest does, in order: mail with deletions and other files between."""
        spec, rng = self.spec, self.rng
        names = list(self.volumes)
        homes = [population.home(account) for account in population.accounts(spec)]
        volume_of = {where: names[number % len(names)] for number, where in enumerate(homes)}
        home = lambda rel: "/".join(rel.split("/")[:2])
        doomed = set(rng.sample(sorted(message["rel"] for message in delivered if "rel" in message), self.doomed_count(delivered)))
        ops: list[list] = [["age", name, spec["seed"] + number, spec["age"]] for number, name in enumerate(names)] if "age" in spec else []
        pending: list[str] = []
        crash_at = int(len(files) * spec["crash"]) if "crash" in spec else None
        for number, rel in enumerate(files):
            ops.append(["put", rel, volume_of[home(rel)]])
            if rng.random() < spec.get("junk", 0.05):
                other = f"spool/{number}.bin"
                ops.append(["junk", other, volume_of[home(rel)], rng.randint(500, spec.get("junk_max", 20_000)), rng.getrandbits(30)])
                pending.append(other)
            if rel in doomed:
                pending.append(rel)
            if number % 61 == 60:
                ops.append(["settle"])
                for gone in rng.sample(pending, len(pending) // 2):
                    ops.append(["delete", gone])
                    pending.remove(gone)
            if number == len(files) * 2 // 3:
                ops += [["shell", command] for command in spec.get("mid", [])]
            if number == crash_at:
                ops.append(["hold_back"])
        ops += [["delete", rel] for rel in pending if rel in doomed]
        for number in spec.get("rm_accounts", []):
            ops.append(["rmtree", homes[number] + "/", volume_of[homes[number]]])
        return ops

    def doomed_count(self, delivered: list[dict]) -> int:
        """How many messages get deleted."""
        return int(sum("rel" in message for message in delivered) * self.spec["mail"].get("deleted", 0.05))

    def fill(self, delivered: list[dict]) -> dict[str, dict]:
        """Builds the arrays, lays the mail down; relative name to the guest's note of it."""
        order = [message["rel"] for message in delivered if "rel" in message]
        known = set(order)
        others = [str(path.relative_to(self.base)) for path in sorted(self.base.rglob("*")) if path.is_file()]
        plan = {"ops": self.operations(delivered, order + [rel for rel in others if rel not in known]), "mounts": self.mounts()}
        self.fresh()
        job = self.shell("build", "mkfs") + "mkdir -p /run/stage && mount -o ro /dev/vdd /run/stage\n"
        job += self.mount_shell(self.spec.get("mount_opts", ""))
        job += "python3 place.py place.json /run/stage /run/out/placed\n"
        if "crash" in self.spec:
            job += "crash\n"
        else:
            job += self.umount_shell() + "\n".join(self.spec.get("stop", [])) + "\nsync\n"
        got = vm.run(job, self.disks, stage=self.stage(), files=[*self.files, ("place.json", json.dumps(plan).encode())])
        notes = [json.loads(line) for line in got["placed"].splitlines()]
        return {note["rel"]: note for note in notes}

    def stage(self) -> pathlib.Path:
        """An ext4 image with the mail tree, from which the guest copies."""
        path = self.scratch / "stage.img"
        sizes = [file.stat().st_size for file in self.base.rglob("*") if file.is_file()]
        path.unlink(missing_ok=True)
        with open(path, "wb") as image:
            image.truncate((sum(size + 6000 for size in sizes) // (1 << 20) + 40) << 20)
        subprocess.run(["mke2fs", "-q", "-N", str(len(sizes) * 2 + 500), "-d", self.base, path], check=True)
        return path

    def damage(self, notes: dict[str, dict], mail_files: set[str]) -> None:
        """The incident, as the spec says."""
        spec, rng = self.spec, self.rng
        if spec.get("incident"):
            vm.run(self.shell("incident") + "sync\n", self.disks, files=self.files)
        for disk, offset, length, filling in spec.get("overwrite", []):
            with open(self.disks[disk], "r+b") as image:
                image.seek(offset)
                image.write(bytes(length) if filling == "zero" else rng.randbytes(length))
        for disk, count in spec.get("bitflips", {}).items():
            self.flip(int(disk), count)
        if spec.get("carve_only"):
            self.wipe_metadata(notes, mail_files)

    def flip(self, disk: int, count: int) -> None:
        """Flips single bits anywhere on a disk."""
        with open(self.disks[disk], "r+b") as image:
            size = os.fstat(image.fileno()).st_size
            for _ in range(count):
                at = self.rng.randrange(size)
                image.seek(at)
                byte = image.read(1)[0]
                image.seek(at)
                image.write(bytes([byte ^ (1 << self.rng.randrange(8))]))

    def wipe_metadata(self, notes: dict[str, dict], mail_files: set[str]) -> None:
        """Overwrites each block of the only disk that holds no file's contents."""
        kept = {
            block for note in notes.values() if note["rel"] in mail_files or note["rel"].startswith("spool/") for block in blocks_of(note)
        }
        with open(self.disks[0], "r+b") as image:
            for block in range(self.disks[0].stat().st_size // BLOCK):
                if block not in kept:
                    image.seek(block * BLOCK)
                    image.write(self.rng.randbytes(BLOCK) if self.rng.random() < 0.06 else bytes(BLOCK))

    def bad_blocks(self, before: list[bytes]) -> list[set[int]]:
        """For each disk the blocks that are gone or not what they were."""
        bad = []
        for number, (path, old) in enumerate(zip(self.disks, before)):
            new = path.read_bytes()
            lost = number in self.spec.get("missing", [])
            spans = range(0, len(old), BLOCK)
            bad.append({at // BLOCK for at in spans if lost or old[at : at + BLOCK] != new[at : at + BLOCK]})
            say(f"disk {number}: {len(bad[-1]) / len(spans):.1%} damaged")
        return bad

    def check(self, truth: list[dict], stored: dict[str, str]) -> None:
        """Lets the kernel read what is left and compares: an outside oracle for the truth."""
        copies = []
        for number, path in enumerate(self.disks):
            copy = self.scratch / f"copy{number}.img"
            if number in self.spec.get("missing", []):
                with open(copy, "wb") as image:
                    image.truncate(path.stat().st_size)
            else:
                subprocess.run(["cp", "--sparse=always", path, copy], check=True)
            copies.append(copy)
        pairs = " ".join(f"{name}={top}" for name, top in self.mounts().items())
        job = self.shell("assemble") + self.mount_shell("-o ro") + f"python3 check.py /run/out/found {pairs}\n"
        found = {entry["rel"]: entry for entry in map(json.loads, vm.run(job, copies, files=self.files)["found"].splitlines())}
        for entry in truth:
            if entry["deleted"] or entry.get("survives", "full") != "full":
                continue
            seen = found.get(entry["rel"])
            if seen is None or seen["sha256"] != stored[entry["rel"]] or seen["mtime"] != entry["date"]:
                raise SystemExit(f"the kernel does not read what the truth says: {entry} {seen}")
        say(
            "the kernel reads all",
            sum(not entry["deleted"] and entry.get("survives", "full") == "full" for entry in truth),
            "surviving messages",
        )


def blocks_of(note: dict, size: int | None = None) -> list[int]:
    """The volume's 4 KiB blocks that hold the first `size` bytes of a file (default: all)."""
    out = []
    for logical, physical, length, _ in note["extents"]:
        used = length if size is None else max(0, min(length, size - logical))
        if used:
            out += range(physical // BLOCK, (physical + used - 1) // BLOCK + 1)
    return out


def survival(spec: dict, where: dict, bad: list[set[int]], note: dict, size: int) -> dict:
    """How much of a file can still be had: `survives` and `lost_blocks`."""
    group_of = {disk: group for group in spec.get("groups", []) for disk in group["disks"]}

    def had(block: int) -> bool:
        copies = where[note["volume"]].get(block)
        if copies is None:
            return True
        for disk, at in copies:
            if at not in bad[disk]:
                return True
            group = group_of.get(disk)
            if group and sum(at in bad[other] for other in group["disks"]) <= group["parity"]:
                return True
        return False

    blocks = blocks_of(note, size)
    lost = sum(not had(block) for block in blocks)
    return {"survives": "full" if not lost else "none" if lost >= len(blocks) else "partial", "lost_blocks": lost}


def verify_store(base: pathlib.Path, spec: dict, delivered: list[dict]) -> None:
    """Reads every account by Dovecot: the truth must not be our opinion."""
    layout = "fs" if "LAYOUT=fs" in spec["mail"].get("location", "") else ""
    for account in population.accounts(spec):
        shown = dovecot_read.read(base / population.home(account) / "Maildir", layout)
        if shown["errors"]:
            raise SystemExit(f"{account}: {shown['errors']}")
        seen = sorted(
            (folder["name"], message["sha256"], message["internaldate"], message["flags"], tuple(message["keywords"]))
            for folder in shown["folders"]
            for message in folder["messages"]
        )
        told = sorted(
            (message["folder"], message["sha256"], message["date"], message["flags"], tuple(message["keywords"]))
            for message in delivered
            if message["account"] == account
        )
        if seen != told:
            raise SystemExit(f"{account}: Dovecot shows other messages than were delivered: {set(seen) ^ set(told)}")


def entry_of(message: dict) -> dict:
    """What the truth says of a message, but for its fate."""
    return {key: message[key] for key in ("account", "folder", "sha256", "date", "flags", "keywords", "kind", "codec")} | {
        "plain_size": len(message["raw"])
    }


def fate(incident: Incident, message: dict, notes: dict[str, dict], where: dict, bad: list[set[int]]) -> dict:
    """The truth of one message; where the store has no file for each, only that it was there."""
    entry = entry_of(message)
    if "rel" not in message:
        return entry | {"deleted": False}
    note = notes[message["rel"]]
    size = (incident.base / message["rel"]).stat().st_size
    entry |= {"rel": message["rel"], "size": size, "volume": note["volume"], "deleted": note["deleted"]}
    if where:
        entry |= survival(incident.spec, where, bad, note, size)
    if incident.spec.get("extents"):
        entry["extents"] = note["extents"]
    return entry


def build(spec: dict, out: pathlib.Path) -> None:
    """Makes the incident of `spec` in `out`."""
    maildir = spec["mail"].get("location", "maildir:").startswith("maildir:")
    with tempfile.TemporaryDirectory(prefix="incident-", dir=vm.LAB) as scratch:
        os.chmod(scratch, 0o755)
        incident = Incident(spec, pathlib.Path(scratch))
        mapped = spec.get("map", True)
        where = incident.learn() if mapped else {}
        say("learnt", {name: len(blocks) for name, blocks in where.items()})
        incident.base.mkdir()
        delivered = population.populate(spec, incident.base)
        if maildir:
            verify_store(incident.base, spec, delivered)
        stored = {
            message["rel"]: hashlib.sha256((incident.base / message["rel"]).read_bytes()).hexdigest()
            for message in delivered
            if "rel" in message
        }
        notes = incident.fill(delivered)
        say("filled with", len(notes), "files")
        before = [path.read_bytes() for path in incident.disks] if mapped else []
        incident.damage(notes, set(stored))
        bad = incident.bad_blocks(before) if mapped else []
        truth = [fate(incident, message, notes, where, bad) for message in delivered]
        if "assemble" in spec:
            incident.check(truth, stored)
        hand_over(incident, truth, out)


def hand_over(incident: Incident, truth: list[dict], out: pathlib.Path) -> None:
    """Packs the remaining disks and writes the truth."""
    spec = incident.spec
    keep = [number for number in range(len(incident.disks)) if number not in spec.get("missing", [])]
    if spec.get("shuffle", True):
        in_order = list(keep)
        while len(keep) > 1 and keep == in_order:
            incident.rng.shuffle(keep)
    names = {f"disk-{chr(ord('a') + place)}.img": number for place, number in enumerate(keep)}
    out.mkdir(parents=True, exist_ok=True)
    pack = incident.scratch / "pack"
    pack.mkdir()
    for name, number in names.items():
        subprocess.run(["cp", "--sparse=always", incident.disks[number], pack / name], check=True)
    tar = "tar --format=gnu -S --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - " + " ".join(names)
    subprocess.run(f"{tar} | zstd -q -19 --long=23 -T1 -f -o {(out / 'disks.tar.zst').resolve()}", shell=True, check=True, cwd=pack)
    live = [entry for entry in truth if not entry["deleted"]]
    accounts = {}
    for entry in sorted(live, key=lambda entry: entry["account"]):
        account = accounts.setdefault(entry["account"], {"messages": 0, "survive": 0})
        account["messages"] += 1
        account["survive"] += entry.get("survives", "full") == "full"
    for entry in truth:
        entry["file"] = pathlib.PurePath(entry.pop("rel")).name if "rel" in entry else None
    head = {
        "case": spec["name"],
        "spec": spec,
        "disks": names,
        "summary": {fate: sum(entry.get("survives", "full") == fate for entry in live) for fate in ("full", "partial", "none")},
        "deleted": len(truth) - len(live),
        "accounts": accounts,
    }
    lines = ",\n".join(json.dumps(entry) for entry in truth)
    (out / "truth.json").write_text(json.dumps(head)[:-1] + ', "messages": [\n' + lines + "\n]}\n")
    if not (out / "spec.json").exists():
        (out / "spec.json").write_text(json.dumps(spec, indent=1) + "\n")
    size = (out / "disks.tar.zst").stat().st_size
    say(f"{spec['name']}: {head['summary']}, {head['deleted']} deleted, disks.tar.zst {size / 1e6:.2f} MB")


def main() -> None:
    """Reads the arguments."""
    if len(sys.argv) != 3:
        raise SystemExit("usage: build_incident.py SPEC.json OUT")
    spec_path = pathlib.Path(sys.argv[1])
    spec = json.loads(spec_path.read_text())
    spec.setdefault("name", spec_path.parent.name if spec_path.name == "spec.json" else spec_path.stem)
    build(spec, pathlib.Path(sys.argv[2]))


if __name__ == "__main__":
    main()
