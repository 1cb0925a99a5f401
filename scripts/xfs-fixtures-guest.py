"""Makes the file systems of `make-xfs-fixtures.py`; runs as root inside the lab's machine.

    python3 xfs-fixtures-guest.py OUT
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import stat
import subprocess
import sys

MIB = 1 << 20

# name, block size, names in the largest directory, arguments of mkfs.xfs. The first is what
# mkfs.xfs made in 2014.
SYSTEMS = [
    ("2014", 4096, 6000, "-b size=4096 -i size=256 -n ftype=0 -d agcount=4"),
    ("small-blocks", 512, 12000, "-b size=512 -i size=256 -n size=4096,ftype=1 -d agcount=3"),
    ("large-directories", 1024, 9000, "-b size=1024 -i size=512,attr=1 -n size=16384,ftype=0 -l lazy-count=0"),
    ("large-inodes", 2048, 9000, "-b size=2048 -i size=1024 -n size=4096,ftype=1 -s size=1024 -d agcount=2"),
]


def shell(command: str) -> None:
    print("+", command, flush=True)
    # mkfs.xfs makes file systems this small only for those who test.
    env = os.environ | {"TEST_DIR": "1", "TEST_DEV": "1", "QA_CHECK_FS": "1"}
    subprocess.run(command, shell=True, check=True, env=env)


def text(tag: str, length: int) -> bytes:
    """Contents that compress well and still differ from place to place."""
    lines = b"".join(b"%s line %06d\n" % (tag.encode(), n) for n in range(length // 16 + 1))
    return lines[:length]


def directories(root: str, names: int, block: int) -> None:
    """Short, block, leaf, node and B+tree directories, with deleted entries."""
    first = f"{root}/first"
    pathlib.Path(first).write_bytes(b"many names")
    for count in (0, 3, 30, 300, 2000, names):
        os.mkdir(f"{root}/dir{count}")
    turn = open(f"{root}/turn", "wb")
    for number in range(names):
        for count in (3, 30, 300, 2000, names):
            if number >= count:
                continue
            path = f"{root}/dir{count}/{number}.M{number * 7:012}P77.mail,S=4711:2,S"
            if number % 50 == 0:
                pathlib.Path(path).write_bytes(text(str(number), number % 3000))
            else:
                os.link(first, path)
        # A file that grows between them cuts the directory into many extents.
        if number % 20 == 0 and number < 6000:
            turn.write(text("turn", block))
            turn.flush()
            os.fsync(turn.fileno())
    turn.close()
    for number in range(names):
        if number % 3 == 1:
            for count in (30, 300, 2000, names):
                if number < count:
                    os.remove(f"{root}/dir{count}/{number}.M{number * 7:012}P77.mail,S=4711:2,S")


def files(root: str, block: int) -> None:
    for size in (0, 1, block - 1, block, block + 1, 100_000):
        pathlib.Path(f"{root}/size{size}").write_bytes(text("size", size))
    with open(f"{root}/fragments", "wb") as file:
        for number in range(2500):
            os.pwrite(file.fileno(), text(f"f{number}", block), number * 2 * block)
    with open(f"{root}/far", "wb") as file:
        os.pwrite(file.fileno(), b"far away", 1 << 40)
    with open(f"{root}/unwritten", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 200_000)
        os.pwrite(file.fileno(), text("written", 5000), 100_000)
    shell(f"fallocate --keep-size -o 8192 -l 100000 {root}/size{block}")
    pathlib.Path(f"{root}/punched").write_bytes(text("punched", 200_000))
    shell(f"fallocate --punch-hole -o 50000 -l 70000 {root}/punched")


def names(root: str) -> None:
    for length in (1, 100, 155, 156, 157, 400, 1000, 1023):
        os.symlink("t" * length, f"{root}/symlink{length}")
    os.mkfifo(f"{root}/fifo")
    os.mknod(f"{root}/null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    for name in (b"latin1-\xe4\xf6", b"n" * 255, b"tab\tnewline\n", b"..."):
        with open(os.path.join(os.fsencode(root), name), "wb") as file:
            file.write(name)
    for number, (uid, gid) in enumerate([(65_536, 1), (4_000_000_000, 3_999_999_999)]):
        path = f"{root}/owner{number}"
        pathlib.Path(path).write_bytes(b"owned")
        os.chown(path, uid, gid)
        os.chmod(path, 0o4751)
    for number, time in enumerate([0, -5_000_000_001, -1, 2_147_483_647_999_999_999]):
        path = f"{root}/time{number}"
        pathlib.Path(path).write_bytes(b"then")
        os.utime(path, ns=(time, time))


def manifest(root: str) -> str:
    lines = []
    base = os.fsencode(root)
    todo = [base]
    while todo:
        path = todo.pop()
        meta = os.lstat(path)
        digest = "-"
        kind = "special"
        size = 0
        if stat.S_ISDIR(meta.st_mode):
            kind, size = "directory", meta.st_size
            todo.extend(os.path.join(path, name) for name in os.listdir(path))
        elif stat.S_ISLNK(meta.st_mode):
            kind, size = "symlink", meta.st_size
            digest = hashlib.sha256(os.readlink(path)).hexdigest()
        elif stat.S_ISREG(meta.st_mode):
            kind, size = "regular", meta.st_size
            digest = "huge" if size > 100 * MIB else hashlib.sha256(open(path, "rb").read()).hexdigest()
        seconds, nanoseconds = divmod(meta.st_mtime_ns, 1_000_000_000)
        inner = path[len(base) + 1 :].hex() or "-"
        fields = [inner, kind, meta.st_mode, meta.st_uid, meta.st_gid, meta.st_nlink, size, seconds, nanoseconds, digest]
        lines.append("\t".join(map(str, fields)))
    return "\n".join(sorted(lines)) + "\n"


def main() -> None:
    out = pathlib.Path(sys.argv[1])
    os.makedirs("/run/w/m", exist_ok=True)
    shell("mountpoint -q /run/w || mount -t tmpfs -o size=2000m tmpfs /run/w; mkdir -p /run/w/m")
    for name, block, largest, arguments in SYSTEMS:
        image = f"/run/w/{name}.img"
        shell(f"truncate -s 72M {image}; mkfs.xfs -q -m crc=0 -m uuid=deadbeef-0000-4000-8000-000000000004 {arguments} {image}")
        shell(f"mount -o loop {image} /run/w/m")
        directories("/run/w/m", largest, block)
        files("/run/w/m", block)
        names("/run/w/m")
        shell(f"umount /run/w/m; mount -o loop,ro {image} /run/w/m")
        (out / f"{name}.tsv").write_text(manifest("/run/w/m"))
        shell(f"umount /run/w/m; mv {image} {out}/{name}.img")


main()
