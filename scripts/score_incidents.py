#!/usr/bin/env python3
"""Recovers incidents and prints how each scores: the figures of README and of closing notes.

    scripts/score_incidents.py [--wiped] [FOLDER...]

FOLDER holds disks.tar.zst and truth.json; without any, the incidents of fixtures/ that have
their labels are taken, and those of ../shared/cases where that folder is there. Each is
recovered with one thread and with two, which must give the same tree, and once more, which must
add nothing. With --wiped the incidents of ../shared/cases are taken that the inference of RAID
geometry is measured by, or those of the FOLDERs, with their labels zeroed first by
wipe_labels.py: md's alone, and then LVM's too where there are any. Exits 1 if anything is false, misfiled or twice, if trees differ, or if a second run
adds something. It builds the program first (release).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import shutil
import sys
import tempfile
import time

from wipe_labels import wipe_all

TOP = pathlib.Path(__file__).resolve().parent.parent
DEFAULT = [TOP / "fixtures/incidents" / name for name in ("drill", "raid6-two-missing", "raid10-dirty", "no-raid-partition")]
DEFAULT += [TOP / "../shared/cases" / name for name in ("md5-xfs", "aggregate", "store-gz")]
WIPED = [TOP / "../shared/cases" / name for name in ("md6-ext4-wiped", "aggregate", "md5-xfs")]
ZERO = ("false", "misfiled", "duplicates", "outside", "sizes")


def digest(root: pathlib.Path) -> str:
    """A digest of every path, mode and content below root, and of the times of messages."""
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        stat = path.lstat()
        times = stat.st_mtime_ns if path.parent.name == "cur" else 0
        total.update(f"{path.relative_to(root)}\0{stat.st_mode:o}\0{times}\0".encode())
        if path.is_file():
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def recover(program: str, disks: list[str], case: pathlib.Path, mail: pathlib.Path, threads: int) -> dict:
    """One run; its JSON."""
    command = [program, "recover", str(case), *disks, "--to", f"maildir:{mail}", "--threads", str(threads), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout.strip():
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def score(truth: pathlib.Path, mail: pathlib.Path) -> dict:
    """The score of a tree, by score.py."""
    command = [sys.executable, str(TOP / "scripts/score.py"), str(truth), str(mail), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)


def incident(program: str, folder: pathlib.Path, disks: list[str], name: str) -> bool:
    """Recovers the disks of one incident, prints its line, and says whether all holds."""
    with tempfile.TemporaryDirectory(prefix="restante-score-") as place:
        work = pathlib.Path(place)
        begun = time.monotonic()
        recover(program, disks, work / "case-1", work / "mail-1", 1)
        seconds = time.monotonic() - begun
        recover(program, disks, work / "case-2", work / "mail-2", 2)
        first = digest(work / "mail-1")
        same = first == digest(work / "mail-2")
        again = recover(program, disks, work / "case-1", work / "mail-1", 2)["sync"]["totals"]["added"]
        unchanged = first == digest(work / "mail-1")
        result = score(folder / "truth.json", work / "mail-1")
        size = sum(os.path.getsize(disk) for disk in disks) / 2**20
    holds = same and unchanged and again == 0 and not any(result[key] for key in ZERO)
    fields = ("yield", "folder", "false", "misfiled", "duplicates", "damaged", "accounts_complete", "flags", "keywords")
    print(
        f"{name:<20}", *(f"{key}={result[key]}" for key in fields),
        f"1 and 2 threads: {'same tree' if same else 'TREES DIFFER'};",
        f"second run adds {again}; {seconds:.1f} s for {size:.0f} MiB",
        flush=True,
    )
    return holds


def files(folder: pathlib.Path) -> list[str]:
    """All files below a folder."""
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())


def unpack(folder: pathlib.Path, target: pathlib.Path) -> None:
    """The disks of an incident."""
    target.mkdir()
    subprocess.run(["tar", "--zstd", "-xSf", folder / "disks.tar.zst", "-C", target], check=True)


def plain(program: str, folder: pathlib.Path) -> bool:
    """An incident as it is."""
    with tempfile.TemporaryDirectory(prefix="restante-score-") as place:
        disks = pathlib.Path(place) / "disks"
        unpack(folder, disks)
        return incident(program, folder, files(disks), folder.name)


def wiped(program: str, folder: pathlib.Path) -> bool:
    """An incident without md's superblocks, then without LVM's labels too if it has any."""
    with tempfile.TemporaryDirectory(prefix="restante-score-") as place:
        disks, bare, barer = (pathlib.Path(place) / name for name in ("disks", "no-md", "no-lvm"))
        unpack(folder, disks)
        # What an archive holds need not lie at its top.
        flat = pathlib.Path(files(disks)[0]).parent
        zeroed = wipe_all(flat, bare, lvm=False)
        name = f"{folder.name} -md" if zeroed else folder.name
        holds = incident(program, folder, files(bare), name)
        shutil.rmtree(bare)
        if len(wipe_all(flat, barer, lvm=True)) > len(zeroed):
            holds &= incident(program, folder, files(barer), f"{folder.name} -md -lvm")
        return holds


def main() -> None:
    """Builds the program and goes through the incidents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=pathlib.Path, metavar="FOLDER", nargs="*")
    parser.add_argument("--wiped", action="store_true", help="zero the labels first")
    options = parser.parse_args()
    run, default = (wiped, WIPED) if options.wiped else (plain, DEFAULT)
    folders = options.folders or [path for path in default if path.is_dir()]
    subprocess.run(["cargo", "build", "--release", "--locked", "-q", "-p", "restante"], cwd=TOP, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
    program = str(target / "release/restante")
    if not all([run(program, folder) for folder in folders]):
        sys.exit(1)


if __name__ == "__main__":
    main()
