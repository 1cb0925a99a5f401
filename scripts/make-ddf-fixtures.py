#!/usr/bin/env python3
"""Makes fixtures/ddf/arrays.tar.zst: virtual disks of each level in DDF containers, by mdadm and a real kernel.

    RESTANTE_LAB=... scripts/make-ddf-fixtures.py [--out FILE]

Needs the lab (scripts/lab/setup.sh) and zstd. The guest's part, with the list of sets, is
`ddf-fixtures-guest.py` beside this file. The archive holds `manifest.json` and for each set a
folder with the pieces of its disks that are not zeros, named by disk and offset. What a virtual
disk holds follows from its size alone (see `content` in `md-fixtures-guest.py`).
"""

from __future__ import annotations

import argparse
import importlib
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "scripts/lab")]

from vm import run  # noqa: E402  (the path is set above)

pack = importlib.import_module("make-md-fixtures").pack

JOB = r"""
set -e
export MDADM_NO_UDEV=1
python3 guest.py /run/out
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "fixtures/ddf/arrays.tar.zst")
    options = parser.parse_args()
    scripts = ROOT / "scripts"
    files = [
        ("guest.py", (scripts / "ddf-fixtures-guest.py").read_bytes()),
        ("md_guest.py", (scripts / "md-fixtures-guest.py").read_bytes()),
    ]
    got = run(JOB, [], files=files, out_mib=400, memory_mib=3000)
    log = got.pop("log")
    got.pop("rc")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(pack(got))
    skipped = [line for line in log.decode("latin-1").splitlines() if line.startswith("SKIP")]
    print("\n".join(skipped), file=sys.stderr)
    print(f"{options.out}: {len(got)} files, {options.out.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
