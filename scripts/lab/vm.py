"""Runs shell jobs under a real Debian kernel in QEMU, with disk images attached.

The machine that runs the tests need not have md, device-mapper or XFS: the guest has. It
is software emulation, so a job takes from ten seconds to some minutes. `setup.sh` prepares
the kernel and the root; the folder is `$RESTANTE_LAB`, by default `target/lab`.

    from vm import PRELUDE, run
    job = PRELUDE + "md /dev/md0 -l5 -n3 $D0 $D1 $D2\\nmdadm --examine $D0 > /run/out/examine\\n"
    got = run(job, ["a.img", "b.img", "c.img"])
    print(got["examine"].decode())

A job is bash text. It runs in a folder that holds `files`; the disks are `$D0`, `$D1` and
so on (`/dev/vde` onwards); what it writes below `/run/out` comes back. The images are
written in place. The root is a throw-away copy.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pathlib
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence

LAB = pathlib.Path(os.environ.get("RESTANTE_LAB") or pathlib.Path(__file__).parents[2] / "target/lab").resolve()

# Shell that jobs over arrays want: `md` and `lv` wrap mdadm --create and lvm so that they
# work without udev, `crash` ends the machine as a power cut does (see `run`). TEST_DIR,
# TEST_DEV and QA_CHECK_FS make mkfs.xfs accept volumes below 300 MB.
PRELUDE = r"""set -e
export MDADM_NO_UDEV=1 DM_DISABLE_UDEV=1 TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x
md() { mdadm --create --run --assume-clean --metadata=${META:-1.2} "$@" >&2; }
lv() { lvm "$@" --config 'activation{udev_sync=0 udev_rules=0} devices{scan=["/dev"] filter=["a|/dev/md|","a|/dev/loop|","a|/dev/vd[e-z]|","r|.*|"] use_devicesfile=0}' >&2; }
crash() {
    echo 0 > /run/out/rc
    tar c -C /run/out . | dd of=/dev/vdc bs=1M conv=notrunc,fsync 2>/dev/null
    echo b > /proc/sysrq-trigger
    sleep 60
}
"""


class VmError(Exception):
    """A job that failed, or a machine that gave nothing back; the text holds the log's end."""


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Holds the lab's lock: one machine at a time, whoever starts it.

    `run` takes it itself. It is not re-entrant, so do not wrap `run` in it or in flock(1).
    """
    LAB.mkdir(parents=True, exist_ok=True)
    with open(LAB / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(
    job: str,
    disks: Sequence[os.PathLike | str],
    *,
    stage: os.PathLike | str | None = None,
    files: Iterable[tuple[str, bytes]] = (),
    out_mib: int = 64,
    memory_mib: int = 3000,
    timeout: float = 1500,
) -> dict[str, bytes]:
    """Runs `job` over `disks` and returns what it left in /run/out, by relative name.

    `disks` are raw images, at most 20, written in place; `stage` is one more image, seen
    read-only in effect (writes are dropped) as /dev/vdd. `log` in the result is the job's
    trace. `out_mib` bounds the result. Raises `VmError` when the job's exit is not 0.
    A job that ends in `crash` (see `PRELUDE`) has succeeded.
    """
    for image in ("root.img", "initrd.gz", "vmlinuz"):
        if not (LAB / image).exists():
            raise VmError(f"{LAB / image} is missing: run scripts/lab/setup.sh (and see RESTANTE_LAB)")
    names = "".join(f"D{i}=/dev/vd{chr(ord('e') + i)}\n" for i in range(len(disks)))
    with only_one(), tempfile.TemporaryDirectory(prefix="vm-", dir=LAB) as scratch:
        work = pathlib.Path(scratch)
        _write_job(work / "job.tar", names + job, files)
        _blank(work / "out.img", out_mib << 20)
        if stage is None:
            stage = work / "stage.img"
            _blank(stage, 1 << 20)
        drives = [(LAB / "root.img", "snapshot=on"), (work / "job.tar", ""), (work / "out.img", ""), (stage, "snapshot=on")]
        drives += [(disk, "") for disk in disks]
        console = _boot(drives, memory_mib, timeout)
        return _results(work / "out.img", console)


def _write_job(path: pathlib.Path, script: str, files: Iterable[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in [("job.sh", script.encode()), *files]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    # QEMU rounds a raw drive down to whole sectors: leave room.
    os.truncate(path, (path.stat().st_size + 0xFFFF) & ~0xFFFF)


def _blank(path: os.PathLike | str, size: int) -> None:
    with open(path, "wb") as image:
        image.truncate(size)


def _boot(drives: Sequence[tuple[os.PathLike | str, str]], memory_mib: int, timeout: float) -> str:
    """Boots, waits for the power-off, and returns the console's text."""
    command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", str(memory_mib), "-smp", "2"]
    command += ["-kernel", str(LAB / "vmlinuz"), "-initrd", str(LAB / "initrd.gz")]
    command += ["-append", "console=ttyS0 panic=-1 mitigations=off quiet"]
    command += ["-nographic", "-no-reboot", "-nic", "none"]
    for path, options in drives:
        # cache=unsafe: nobody needs the images to outlive a crash of the host.
        command += ["-drive", f"file={path},if=virtio,format=raw,cache=unsafe" + (f",{options}" if options else "")]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
    except FileNotFoundError:
        raise VmError("qemu-system-x86_64 is missing: run scripts/lab/setup.sh") from None
    except subprocess.TimeoutExpired as late:
        raise VmError(f"no end after {timeout} s:\n" + (late.stdout or b"").decode("latin-1")[-3000:]) from None
    return done.stdout.decode("latin-1")


def _results(out: pathlib.Path, console: str) -> dict[str, bytes]:
    try:
        with tarfile.open(out) as tar:
            got = {member.name.removeprefix("./"): tar.extractfile(member).read() for member in tar if member.isfile()}
    except tarfile.TarError:
        raise VmError("the machine gave nothing back:\n" + console[-3000:]) from None
    if got.get("rc", b"").strip() != b"0":
        raise VmError("the job failed:\n" + got.get("log", b"").decode("latin-1")[-3000:])
    return got
