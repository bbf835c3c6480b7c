"""Tables and a picture of a compiled step's account."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cogvit_jax import plots
from cogvit_jax.describe_report import Report
from cogvit_jax.topology import GIB


def show(report: Report, console: Console) -> None:
    """Tables for the terminal."""
    f = report.figures
    console.print(_summary(f))
    console.print(_memory(f))
    if f.get("time"):
        console.print(_times(f))
    if f["collectives"]:
        console.print(_collectives(f))
    if not f["fits"] and f["largest_buffers"]:
        console.print(_buffers(f))
    for text in f["suggestions"]:
        console.print(f"try {text}", style="bold")
    for text in f["assumptions"]:
        console.print(f"- {text}", style="dim")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table


def _summary(f: dict[str, Any]) -> Table:
    table = _table(f"{f['topology']}: {f['num_devices']} devices, {f['compiler']}", "step", "")
    rows = {
        "mesh": " ".join(f"{a}={n}" for a, n in f["mesh"].items()),
        "parameters": f"{f['parameters']:,} ("
        + ", ".join(f"{k} {v:,}" for k, v in f["parameters_by_group"].items())
        + ")",
        "examples per step": f"{f['examples_per_step']:,}",
        "model TFLOP per chip": f"{f['model_flops_per_chip'] / 1e12:.2f}",
        "executed TFLOP per chip": f"{f['flops_per_chip'] / 1e12:.2f}",
        "compile time": f"{f['compile_seconds']:.0f} s",
    }
    if f["predicted_step_seconds"]:
        roofline = f["roofline_seconds"]
        rows |= {
            "predicted step": f"{f['predicted_step_seconds'] * 1e3:.0f} ms",
            "predicted MFU": f"{f['predicted_mfu']:.1%}",
            "predicted examples/s/chip": f"{f['predicted_examples_per_second_per_chip']:.1f}",
            "roofline": f"compute {roofline['compute'] * 1e3:.0f} ms, "
            f"memory {roofline['memory'] * 1e3:.0f} ms",
        }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _memory(f: dict[str, Any]) -> Table:
    verdict = "fits" if f["fits"] else "does not fit"
    limit = f["hbm_limit_bytes"]
    room = f" of {limit / GIB:.2f} GiB: {verdict}" if limit else ""
    table = _table(f"memory per device{room}", "kind", "GiB")
    for name, size in f["memory"].items():
        table.add_row(name.replace("_", " "), f"{size / GIB:.3f}")
    table.add_row("total", f"{f['hbm_bytes_per_chip'] / GIB:.3f}")
    if f["host_bytes_per_chip"]:
        table.add_row("offloaded to the host", f"{f['host_bytes_per_chip'] / GIB:.3f}")
    if limit:
        table.add_row(
            "left" if limit >= f["hbm_bytes_per_chip"] else "missing",
            f"{abs(limit - f['hbm_bytes_per_chip']) / GIB:.3f}",
        )
    return table


def _times(f: dict[str, Any], most: int = 14) -> Table:
    table = _table("predicted time, ms", "part", "forward", "recomputed", "backward", "sum")
    for name, row in list(f["time_by_part"].items())[:most]:
        numbers = [row["forward"], row["recomputed"], row["backward"], sum(row.values())]
        table.add_row(name, *(f"{1e3 * x:.1f}" for x in numbers))
    for name, seconds in f["time"].items():
        table.add_row(name, "", "", "", f"{1e3 * seconds:.1f}", style="bold")
    return table


def _collectives(f: dict[str, Any]) -> Table:
    table = _table("collectives per step", "kind", "axes", "asynchronous", "count", "MB sent")
    for row in f["collectives"]:
        asynchronous = "yes" if row["asynchronous"] else "no"
        table.add_row(
            row["kind"],
            row["axes"],
            asynchronous,
            f"{row['count']:.0f}",
            f"{row['bytes'] / 1e6:.1f}",
        )
    return table


def _buffers(f: dict[str, Any]) -> Table:
    table = _table("largest buffers", "part", "GiB", "type", "source")
    for row in f["largest_buffers"]:
        table.add_row(row["part"], f"{row['bytes'] / GIB:.2f}", row["type"], row["source"])
    return table


def plot(report: Report, path: str) -> None:
    """Writes a picture: memory by kind beside its limit, time by kind and by part."""
    f = report.figures
    memory = {k.replace("_", " "): v / GIB for k, v in f["memory"].items()}
    limit = f["hbm_limit_bytes"]
    times = {k: 1e3 * v for k, v in (f.get("time") or {}).items()}
    parts = {k: 1e3 * sum(v.values()) for k, v in list((f.get("time_by_part") or {}).items())[:10]}
    plots.stacked_bars(
        Path(path),
        title=f"{f['topology']}, {f['examples_per_step']:,} examples per step",
        panels=(
            ("memory per device, GiB", memory, limit / GIB if limit else None),
            ("predicted time by kind, ms", times, None),
            ("compute time by part, ms", parts, None),
        ),
    )
