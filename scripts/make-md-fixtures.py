#!/usr/bin/env python3
"""Makes fixtures/md/arrays.tar.zst: small arrays of every level and layout, by a real kernel.

    RESTANTE_LAB=... scripts/make-md-fixtures.py [--only ARRAY] [--out FILE]

Needs the lab (scripts/lab/setup.sh) and zstd. The guest's part, with the list of arrays, is
`md-fixtures-guest.py` beside this file. The archive holds `manifest.json`, which says what
mdadm was asked for and what the kernel made of it, and for each array a folder with the
image of each of its devices. What an array holds follows from its size alone (see `content`
in the guest's part), so the images compress to little and a test needs no second copy.
"""

from __future__ import annotations

import argparse
import io
import pathlib
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts/lab"))

from vm import run  # noqa: E402  (the path is set above)

GUEST = pathlib.Path(__file__).with_name("md-fixtures-guest.py")

JOB = r"""
set -e
export MDADM_NO_UDEV=1
python3 guest.py /run/out "$(cat only)"
"""


def pack(got: dict[str, bytes]) -> bytes:
    """The archive, in an order that lets zstd see alike images one after the other."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(got):
            info = tarfile.TarInfo(name)
            info.size = len(got[name])
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(got[name]))
    command = ["zstd", "-19", "--long=27", "-T0", "-q", "-c"]
    return subprocess.run(command, input=plain.getvalue(), stdout=subprocess.PIPE, check=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="arrays whose name contains this")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "fixtures/md/arrays.tar.zst")
    options = parser.parse_args()
    files = [("guest.py", GUEST.read_bytes()), ("only", options.only.encode())]
    got = run(JOB, [], files=files, out_mib=900, memory_mib=4000)
    log = got.pop("log")
    got.pop("rc")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(pack(got))
    skipped = [line for line in log.decode("latin-1").splitlines() if line.startswith("SKIP")]
    print("\n".join(skipped), file=sys.stderr)
    print(f"{options.out}: {len(got)} files, {options.out.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
