#!/usr/bin/env python3
"""Runs mgw-bench-micro and prints what it measures as a table: nanoseconds of CPU (the median of five), spread, heap allocations.

  bench/micro.py [--programs build/release/bin] [--json FILE]      bench/README.md says what the rows are"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--programs", default="build/release/bin", help="where the program is")
    p.add_argument("--json", help="writes all figures to this file")
    p.add_argument("--only", metavar="REGEX", default=".", help="rows whose name matches")
    o = p.parse_args()
    rows = measure(os.path.join(o.programs, "mgw-bench-micro"), o.only)
    print("\n".join(table(rows)))
    if o.json:
        with open(o.json, "w") as out:
            json.dump(rows, out, indent=1)


def measure(program, only=".", rounds=5):
    """Every row with its figures; those of one step take turns, so that what else the machine does hits all alike."""
    done = subprocess.run([program, f"--benchmark_filter={only}", "--benchmark_min_time=0.1", f"--benchmark_repetitions={rounds}",
                           "--benchmark_enable_random_interleaving=true", "--benchmark_format=json"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    figures = {}
    for run in json.loads(done.stdout)["benchmarks"]:
        if run.get("error_occurred"):
            sys.exit(f"{run['name']}: {run['error_message']}")
        if run["run_type"] == "iteration":
            row = figures.setdefault(run["run_name"], {"name": run["run_name"], "ns": [], "allocations": 0})
            row["ns"].append(run["cpu_time"])
            row["allocations"] = max(row["allocations"], round(run["allocations"], 2))
    order = subprocess.run([program, "--benchmark_list_tests"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [figures[name] for name in order if name in figures]


def table(rows):
    """Lines of Markdown."""
    out = ["| step | ns | spread | allocations |", "|---|---|---|---|"]
    for row in rows:
        median = statistics.median(row["ns"])
        spread = (max(row["ns"]) - min(row["ns"])) / median
        name = re.sub(r"/(\w+):(\d+)$", r", \1 \2", row["name"]).replace("/", ": ")
        out.append(f"| {name} | {median:.0f} | {spread:.0%} | {row['allocations']:g} |")
    return out


if __name__ == "__main__":
    main()
