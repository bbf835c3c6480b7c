"""Memory of a step of reinforcement learning, as the TPU compiler lays it out, by what it sees.

    pip install -e '.[compiled]' && python -m benchmarks.rl_memory
    python -m benchmarks.rl_memory --cases=images,video --plans=plain,chunks --json=FILE

The whole step of configs/rl.py (0.5B decoder, CogViT-L, loss, Muon) for a v5e slice; nothing runs
and no TPU is needed. A case is a micro-batch of one chip, of which a step has `--microbatches`. The
figures are a chip's: `temporaries` are activations, gradients and work space in its memory, `host`
waits in the host's. A program takes minutes of one core.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax

from cogvit_jax import describe
from cogvit_jax.topology import GIB
from configs import rl as configs
from rl.programs import build

# name -> config.packing: tokens of a row, vision rows, patches of one
CASES = {
    "text": {"seq_len": 2048, "vision_rows": 1, "vision_row_length": 1024},
    "images": {"seq_len": 16384, "vision_rows": 32, "vision_row_length": 1024},
    "video": {"seq_len": 32768, "vision_rows": 112, "vision_row_length": 1024},
}
ABOUT = {
    "text": "a short text and one picture of 448 × 448",
    "images": "a conversation of 16,384 tokens with 32 pictures",
    "video": "a video of 224 frames (112 pairs), 32,768 tokens",
}
# name -> (config.vision.remat, config.vision_memory)
PLANS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("norms", {"chunk_rows": 0, "offload": ()}),
    "remat": ("full", {"chunk_rows": 0, "offload": ()}),
    "chunks": ("full", {"chunk_rows": 1, "offload": ()}),
    "offload": ("full", {"chunk_rows": 1, "offload": ("block_input",)}),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A compiled step. Bytes and FLOPs are a chip's; FLOPs are executed, those of a whole step.

    Attributes:
        case, plan: keys of CASES and PLANS.
        fits: whether the compiler takes it.
        arguments: parameters, optimizer state, one batch.
        temporaries: in the chip's memory.
        host: in the host's.
        flops: matrix products and kernels.
        collective_bytes: that the chip sends.
        seconds: of compiling.
    """

    case: str
    plan: str
    fits: bool
    arguments: int
    temporaries: int
    host: int
    flops: float
    collective_bytes: float
    seconds: float


def make_config(case: str, plan: str, microbatches: int) -> Any:
    """configs/rl.py for a case and a plan."""
    config: Any = configs.full()
    config.packing.update(CASES[case])
    config.packing.microbatches = microbatches
    config.sampling.max_length = CASES[case]["seq_len"]
    remat, memory = PLANS[plan]
    config.vision.remat = remat
    config.vision_memory.update(memory)
    config.train.tpu_compiler_options = ()  # the pod's own compile for minutes longer
    return config


def measure(config: Any, topology: str, case: str, plan: str) -> Row:
    """Compiles a step for a slice that need not be there."""
    figures = describe.describe(config, topology, build=build).figures
    return Row(
        case=case,
        plan=plan,
        fits=figures["fits"],
        arguments=figures["memory"]["arguments"],
        temporaries=figures["memory"]["temporaries"],
        host=figures["host_bytes_per_chip"],
        flops=figures["flops_per_chip"],
        collective_bytes=figures["collective_bytes"],
        seconds=figures["compile_seconds"],
    )


def table(rows: list[Row]) -> str:
    """Markdown, a line for each program."""
    head = "| a micro-batch | vision | arguments | temporaries | on the host | TFLOP | GB sent |"
    lines = [head, "|---|---|" + "---:|" * 5]
    for row in rows:
        fits = "" if row.fits else ", does not fit"
        cells = [
            ABOUT[row.case],
            row.plan,
            f"{row.arguments / GIB:.2f}",
            f"{row.temporaries / GIB:.2f}{fits}",
            f"{row.host / GIB:.2f}",
            f"{row.flops / 1e12:.1f}",
            f"{row.collective_bytes / 1e9:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Compiles every case under every plan and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--plans", default=",".join(PLANS))
    parser.add_argument("--topology", default="v5e:4x4")
    parser.add_argument("--microbatches", type=int, default=2)
    parser.add_argument("--json", help="file for the rows")
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    rows = []
    for case in options.cases.split(","):
        for plan in options.plans.split(","):
            config = make_config(case, plan, options.microbatches)
            rows.append(measure(config, options.topology, case, plan))
            print(rows[-1], file=sys.stderr, flush=True)
            if options.json:
                found = [dataclasses.asdict(row) for row in rows]
                Path(options.json).write_text(json.dumps(found, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
