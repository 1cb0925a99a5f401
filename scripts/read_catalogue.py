#!/usr/bin/env python3
"""Reads a case's catalogue with DuckDB, which shares no code with restante, and prints JSON.

    scripts/read_catalogue.py CASE [QUERIES.md]

For each disk: bytes of its units and of its blocks, whether rows are sorted, and how many finds of
each kind there are. With a Markdown file, every SQL block in it is run inside CASE, so
documentation cannot go stale; the rows of each are printed.
"""

import json
import os
import re
import sys

import duckdb

CATALOGUE = "read_parquet('catalogue/*.parquet', filename = true)"


def facts(db):
    """What the catalogue says of each disk."""
    disks = {}
    for name, units, unit_bytes, block_bytes in db.execute(f"""
        SELECT evidence,
               count(*) FILTER (record = 'unit'),
               sum(bytes) FILTER (record = 'unit'),
               sum(bytes) FILTER (record = 'blocks')
        FROM {CATALOGUE} GROUP BY evidence""").fetchall():
        disks[name] = {"units": units, "unit_bytes": int(unit_bytes),
                       "block_bytes": int(block_bytes or 0), "finds": {}}
    for name, what, count in db.execute(f"""
        SELECT evidence, what, count(*) FROM {CATALOGUE}
        WHERE record = 'find' GROUP BY ALL""").fetchall():
        disks[name]["finds"][what] = count
    return disks


def unsorted_files(db):
    """How many files have rows of one kind that go backwards."""
    return db.execute(f"""
        SELECT count(DISTINCT filename) FROM (
            SELECT filename, start,
                   lag(start) OVER (PARTITION BY filename, record ORDER BY file_row_number) AS before
            FROM read_parquet('catalogue/*.parquet', filename = true, file_row_number = true))
        WHERE start < before""").fetchone()[0]


def main():
    """Prints the facts, and the rows of the queries of a document."""
    case = sys.argv[1]
    queries = []
    if len(sys.argv) > 2:
        with open(sys.argv[2], encoding="utf-8") as document:
            queries = re.findall(r"```sql\n(.*?)```", document.read(), re.S)
    os.chdir(case)
    db = duckdb.connect()
    rows = [db.execute(query).fetchall() for query in queries]
    print(json.dumps({"disks": facts(db), "unsorted": unsorted_files(db), "queries": rows},
                     default=str))


if __name__ == "__main__":
    main()
