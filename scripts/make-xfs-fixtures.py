#!/usr/bin/env python3
"""Makes fixtures/xfs/v4.tar.zst: version 4 file systems, filled by a kernel that still writes them.

    RESTANTE_LAB=... scripts/make-xfs-fixtures.py [--out FILE]

Needs the lab (scripts/lab/setup.sh) and zstd. Kernels of today are often built without
version 4, so what a kernel shows of these images is kept beside them: for each NAME.img there
is NAME.tsv, a line for each path with its hexadecimal bytes, kind, mode, owner, group, link
count, size, seconds and nanoseconds of the last change, and the SHA-256 of the contents or of
the target of a symbolic link. The guest's part is `xfs-fixtures-guest.py` beside this file.
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

GUEST = pathlib.Path(__file__).with_name("xfs-fixtures-guest.py")

JOB = "set -e\npython3 guest.py /run/out\n"


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
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "fixtures/xfs/v4.tar.zst")
    options = parser.parse_args()
    got = run(JOB, [], files=[("guest.py", GUEST.read_bytes())], out_mib=400, memory_mib=3000)
    print(got.pop("log").decode("latin-1"), file=sys.stderr)
    got.pop("rc")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(pack(got))
    print(f"{options.out}: {len(got)} files, {options.out.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
