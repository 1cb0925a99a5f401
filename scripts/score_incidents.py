#!/usr/bin/env python3
"""Recovers incidents and prints how each scores: the figures of README and of closing notes.

    scripts/score_incidents.py [FOLDER...]

FOLDER holds disks.tar.zst and truth.json; without any, the incidents of fixtures/ that have
their labels are taken, and those of ../shared/cases where that folder is there. Each is
recovered with one thread and with two, which must give the same tree, and once more, which must
add nothing. Exits 1 if anything is false, misfiled or twice, if trees differ, or if a second run
adds something. It builds the program first (release).
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
DEFAULT = [TOP / "fixtures/incidents" / name for name in ("drill", "raid6-two-missing", "raid10-dirty", "no-raid-partition")]
DEFAULT += [TOP / "../shared/cases" / name for name in ("md5-xfs", "aggregate", "store-gz")]
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


def incident(program: str, folder: pathlib.Path) -> bool:
    """Recovers one incident, prints its line, and says whether all holds."""
    with tempfile.TemporaryDirectory(prefix="restante-score-") as name:
        work = pathlib.Path(name)
        (work / "disks").mkdir()
        subprocess.run(["tar", "--zstd", "-xSf", folder / "disks.tar.zst", "-C", work / "disks"], check=True)
        disks = sorted(str(path) for path in (work / "disks").rglob("*") if path.is_file())
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
        f"{folder.name:<20}", *(f"{key}={result[key]}" for key in fields),
        f"1 and 2 threads: {'same tree' if same else 'TREES DIFFER'};",
        f"second run adds {again}; {seconds:.1f} s for {size:.0f} MiB",
        flush=True,
    )
    return holds


def main() -> None:
    """Builds the program and goes through the incidents."""
    folders = [pathlib.Path(text) for text in sys.argv[1:]] or [path for path in DEFAULT if path.is_dir()]
    subprocess.run(["cargo", "build", "--release", "--locked", "-q", "-p", "restante"], cwd=TOP, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
    program = str(target / "release/restante")
    if not all([incident(program, folder) for folder in folders]):
        sys.exit(1)


if __name__ == "__main__":
    main()
