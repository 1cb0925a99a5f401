#!/usr/bin/env python3
"""The table of docs/filesystems.md, from what the bench `filesystems` prints, on standard input.

    cargo bench -p benches --bench filesystems -- --rivals | scripts/damage_table.py

A row for each file system and damage: restante, and beside it the best of the other tools, by whole
paths first and by contents where none has any.
"""
import re
import sys

LINE = re.compile(r"(\S+)\s+(\S+)\s+(\S+(?: \S+)?)\s+(\d+)" + r"\s+([\d.]+)%" * 3)


def shares(found):
    return ", ".join(f"{share:.1f}" for share in found)


def main():
    rows = {}
    for line in sys.stdin:
        if match := LINE.match(line):
            kind, damage, tool, intact, *found = match.groups()
            rows.setdefault((kind, damage), {})[tool] = (int(intact), [float(f) for f in found])
    print("| file system | damage | intact | restante: path, mailbox, contents "
          "| best other tool: path, mailbox, contents |")
    print("|---|---|---|---|---|")
    for (kind, damage), tools in rows.items():
        intact, ours = tools.pop("restante")
        others = "–"
        if tools:
            name, (_, best) = max(tools.items(), key=lambda tool: (tool[1][1][0], tool[1][1][2]))
            others = f"{shares(best)} ({name})" if best[2] > 0 else "0"
        print(f"| {kind} | {damage} | {intact} | {shares(ours)} | {others} |")


if __name__ == "__main__":
    main()
