#!/usr/bin/env python3
"""The tables of docs/benchmarks.md, from what the bench `carving` prints, on standard input.

    cargo bench -p benches --bench carving -- --peers | scripts/carving_tables.py
    cargo bench -p benches --bench carving -- --photorec | scripts/carving_tables.py

What there is in the input becomes a table each: all tools on one image; the grid, a row for
pieces, order and gap, with per cent exact and false claims of each cell; the same by what ties
pieces together; the awkward cases and the decoys.
"""
import re
import sys

TOOL_WIDTH = 24
CELL = re.compile(r"(\S+)\s+(\d+)\s+(?:([\d.]+)%|–)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)(?:\s+(?:([\d.]+)%|–))?$")
GRID = re.compile(r"(\d)-(zero|binary|mail)-(signed|unsigned)-(\d)k(-shuffled)?$")
PIECES = re.compile(r"(\d) (in order|out of order)" + r"\s+([\d.]+)% of\s+(\d+)" * 3)
COLUMNS = [(proof, block) for proof in ("signed", "unsigned") for block in ("1", "4")]


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def tools(lines):
    rows = []
    for line in lines:
        name, rest = line[:TOOL_WIDTH].strip(), line[TOOL_WIDTH:]
        cells = rest.split(maxsplit=10)
        if "is not installed" in line:
            rows.append([line.split(" is not")[0].strip(), "not installed", *[""] * 9])
        elif len(cells) >= 10:
            note = f" ({cells[10].strip()})" if len(cells) > 10 else ""
            rows.append([name + note, *cells[:10]])
    head = ["tool", "exact, in one piece", "exact, in pieces", "without end", "and more", "false", "files"]
    table(head + ["MB/s", "seconds", "CPU s", "peak MiB"], rows)


def grid(cells):
    rows = {}
    for name, (_, exact, _, false, theirs) in cells.items():
        if match := GRID.match(name):
            pieces, gap, proof, block, shuffled = match.groups()
            row = rows.setdefault((bool(shuffled), int(pieces), gap), {})
            row[proof, block] = f"{exact}, {false}" + (f" ({theirs})" if theirs else "")
    if not rows:
        return
    head = ["pieces", "order", "gap"] + [f"{proof}, {block} KiB" for proof, block in COLUMNS]
    table(head, ([str(pieces), "other" if shuffled else "right", gap, *(row.get(column, "") for column in COLUMNS)]
                 for (shuffled, pieces, gap), row in sorted(rows.items())))


def awkward(cells):
    rows = [[name, files, exact or "–", damaged, false, theirs or "–"]
            for name, (files, exact, damaged, false, theirs) in cells.items() if not GRID.match(name)]
    table(["case", "files", "exact %", "damaged", "false", "PhotoRec exact %"], rows)


def main():
    scenes, pieces, contest, scene = {}, [], [], None
    for line in sys.stdin:
        line = line.rstrip("\n")
        if match := re.match(r"(\S+): [\d.]+ MiB, blocks", line):
            scene = match[1]
        elif match := PIECES.match(line):
            count, order, *shares = match.groups()
            pieces.append([count, order, *(f"{share} of {all}" for share, all in zip(shares[::2], shares[1::2]))])
        elif scene == "volume":
            contest.append(line)
        elif match := CELL.match(line):
            name, files, exact, damaged, _, false, _, _, _, theirs = match.groups()
            scenes.setdefault(scene, {})[name] = (files, exact, damaged, false, theirs)
    if contest:
        start = next((number for number, line in enumerate(contest) if line.startswith("tool ")), -1)
        tools(contest[start + 1:])
    grid({name: cell for scene, cells in scenes.items() if scene != "awkward" for name, cell in cells.items()})
    if pieces:
        table(["pieces", "order", "signed", "multipart or base64", "plain text"], pieces)
    if "awkward" in scenes:
        awkward(scenes["awkward"])


if __name__ == "__main__":
    main()
