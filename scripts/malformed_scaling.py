#!/usr/bin/env python3
"""Shows how the time for mail that breaks the rules grows with its length.

    scripts/malformed_scaling.py [--restante PROGRAM] [--times N]

For each way of breaking the rules an ext4 image holds 16 messages that break them N times, and another
one 16 that break them eight times as often. `restante recover` is run on both, and a row says how many
bytes each had, how many CPU seconds it took beyond those of an image with no such message, and by what
the second one took longer for its length: 1.0 is linear, 8 would be quadratic. Needs mke2fs.
"""

from __future__ import annotations

import argparse
import pathlib
import resource
import subprocess
import tempfile

COPIES = 16
# The least of so many runs counts: others are disturbed.
RUNS = 2
MORE = 8


def nested(n: int) -> str:
    begun = "".join(f"Content-Type: multipart/mixed; boundary=b{i}\n\n--b{i}\n" for i in range(n))
    return begun + "Content-Type: text/plain\n\nwords\n" + "".join(f"--b{i}--\n" for i in reversed(range(n)))


def attached(n: int) -> str:
    return "".join(f"Content-Type: message/rfc822\n\nSubject: level {i}\n" for i in range(n)) + "\nwords\n"


KINDS = {
    "nested parts": nested,
    "parts that nothing ends": lambda n: nested(n).split("\nwords\n")[0] + "\nwords\n",
    "attached messages": attached,
    "fields": lambda n: "".join(f"X-{i}: {i}\n" for i in range(8 * n)) + "\nwords\n",
    "lines of one field": lambda n: "X-Folded: a\n" + " b\n" * (16 * n) + "\nwords\n",
    "one long line": lambda n: "\n" + "a" * (64 * n) + "\n",
    "open comments": lambda n: "To: " + "(" * (32 * n) + "\n\nwords\n",
    "encoded words": lambda n: "Subject: " + "=?utf-8?Q?=41?= " * (4 * n) + "\n\nwords\n",
    "parameters": lambda n: "Content-Type: text/plain" + "".join(f"; name*{i}*=a" for i in range(4 * n)) + "\n\nwords\n",
    "almost boundaries": lambda n: f'Content-Type: multipart/mixed; boundary="{"x" * 70}"\n\n' + f'--{"x" * 69}\n' * n,
    "recipients": lambda n: "To: " + ", ".join(f"a{i}@quarry.example" for i in range(4 * n)) + "\n\nwords\n",
    "received": lambda n: "".join(f"Received: from a by b{i}; Tue, 17 Jun 2014 08:09:10 +0200\n" for i in range(n)) + "\nwords\n",
    "carriage returns": lambda n: "\n" + "a\r" * (32 * n) + "\n",
    "lines that begin with From": lambda n: "\n" + "From x@y Mon Jun  9 10:00:00 2014\n" * n,
}


def cpu_seconds(program: pathlib.Path, letters: list[str]) -> float:
    """How long `recover` works for an image with these messages."""
    with tempfile.TemporaryDirectory() as name:
        top = pathlib.Path(name)
        cur = top / "tree/srv/vmail/lindenhof.example/ada/Maildir/cur"
        cur.mkdir(parents=True)
        for number, letter in enumerate(letters):
            (cur / f"{1402992550 + number}.M1P1.mx1:2,S").write_bytes(letter.encode())
        image = top / "disk.img"
        size = 64 + 4 * sum(map(len, letters)) // (1 << 20)
        subprocess.run(["truncate", "-s", f"{size}M", image], check=True)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", top / "tree", image], check=True)
        taken = []
        for run in range(RUNS):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            target = f"maildir:{top / 'mail'}{run or ''}"
            command = [program, "recover", top / f"case{run}", image, "--to", target, "-q"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        restored = sorted(path.read_bytes() for path in (top / "mail").rglob("cur/*"))
        if restored != sorted(letter.encode() for letter in letters):
            raise SystemExit("a message did not come back as it was")
        return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--restante", type=pathlib.Path, default=pathlib.Path("target/release/restante"))
    parser.add_argument("--times", type=int, default=8000)
    arguments = parser.parse_args()
    program = arguments.restante.resolve()

    def letters(body: str) -> list[str]:
        head = "From: grete@quarry.example\nDelivered-To: ada@lindenhof.example\nMessage-ID: <{}@quarry.example>\n"
        return [head.format(number) + body for number in range(COPIES)]

    none = cpu_seconds(program, letters("\nwords\n"))
    print(f"{'':28} {'kB':>8} {'s':>7} {'kB':>8} {'s':>7}  for its length")
    for kind, make in KINDS.items():
        row = []
        for times in (arguments.times, MORE * arguments.times):
            body = letters(make(times))
            row.append((sum(map(len, body)), max(cpu_seconds(program, body) - none, 0.001)))
        (short, little), (long, much) = row
        # What takes next to no time cannot be compared.
        growth = f"{(much / little) / (long / short):.2f}" if little > 0.1 else "-"
        print(f"{kind:28} {short // 1000:8} {little:7.3f} {long // 1000:8} {much:7.3f}  {growth}", flush=True)


if __name__ == "__main__":
    main()
