"""Which remat policy and how many microbatches suit a chip: the whole stage 2 step, compiled.

    python -m benchmarks.step_search --topology=v5e:16x16 --json=search.json

Every candidate is the step that `main` would run, compiled by the TPU compiler in a process of its
own (about four minutes each on two cores); nothing is run. A file of earlier results is continued.
The best row of a search over predictions is optimistic by construction.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

CONFIG = "configs/stage2.py"
NO_VMEM = ("--config.train.tpu_compiler_options=()",)
# name -> what differs from the config
CANDIDATES: dict[str, tuple[str, ...]] = {
    "XLA attention, remat full, 8 parts": (
        "--config.vision.attention=xla",
        "--config.vision.remat=full",
        "--config.train.microbatches=8",
    ),
    "kernel, remat full": ("--config.vision.remat=full", "--config.train.microbatches=1"),
    "kernel, remat full, default VMEM": (
        "--config.vision.remat=full",
        "--config.train.microbatches=1",
        *NO_VMEM,
    ),
    "kernel, save attention": ("--config.vision.remat=attention", "--config.train.microbatches=1"),
    "kernel, save qkv, 2 parts": ("--config.vision.remat=qkv", "--config.train.microbatches=2"),
    "kernel, save norms' inputs, 4 parts": (
        "--config.vision.remat=norms",
        "--config.train.microbatches=4",
    ),
    "kernel, save all, 8 parts": ("--config.vision.remat=none", "--config.train.microbatches=8"),
}


def describe(topology: str, changes: tuple[str, ...]) -> dict[str, Any]:
    """The figures of one candidate; its error under "error"."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "step.json"
        command = [sys.executable, "-m", "cogvit_jax.describe", f"--config={CONFIG}"]
        done = subprocess.run(
            [*command, f"--topology={topology}", f"--json={target}", *changes],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            return {"error": done.stderr.strip().splitlines()[-1]}
        return json.loads(target.read_text())


def table(rows: dict[str, dict[str, Any]], title: str) -> Table:
    """One line per candidate, best first."""
    made = Table(title=title, title_justify="left")
    columns = (
        "candidate",
        "GiB",
        "fits",
        "executed TF",
        "step ms",
        "MFU",
        "kernels ms",
        "waiting ms",
    )
    for i, column in enumerate(columns):
        made.add_column(column, justify="right" if i else "left", no_wrap=True)
    for name, row in sorted(rows.items(), key=lambda r: r[1].get("predicted_step_seconds", 1e9)):
        if "error" in row:
            made.add_row(name, row["error"][:60])
            continue
        made.add_row(
            name,
            f"{row['hbm_bytes_per_chip'] / 2**30:.2f}",
            "yes" if row["fits"] else "no",
            f"{row['flops_per_chip'] / 1e12:.0f}",
            f"{1e3 * row['predicted_step_seconds']:.0f}",
            f"{row['predicted_mfu']:.1%}",
            f"{1e3 * row['time']['kernels']:.0f}",
            f"{1e3 * row['time']['waiting for collectives']:.0f}",
        )
    return made


def main() -> None:
    """Compiles what the file of results lacks, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--topology", default="v5e:16x16")
    parser.add_argument("--json", type=Path, default=None, help="results; continued if it exists")
    parser.add_argument("--only", default="", help="only candidates whose name contains this")
    parser.add_argument("overrides", nargs="*", help="--config.x=y for every candidate, after --")
    args = parser.parse_args()
    console = Console(width=140)
    rows = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    for name, changes in CANDIDATES.items():
        if name in rows or args.only not in name:
            continue
        with console.status(f"compiling: {name}"):
            rows[name] = describe(args.topology, (*changes, *args.overrides))
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1) + "\n")
    console.print(table(rows, f"stage 2 on {args.topology}, compiled; times are predictions"))


if __name__ == "__main__":
    main()
