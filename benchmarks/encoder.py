"""Training step of CogViT beside the same architecture in transformers/torch, in turns, on CPU.

    pip install -e '.[parity]' && python benchmarks/encoder.py

Both sides: f32, the same batch of square images, forward, backward of the mean square feature, and
an AdamW update of all parameters. Each side runs in a process of its own; rounds alternate, so that
the ratio holds while the machine's speed drifts. Prints images/s and the ratio of each round.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable


def main() -> None:
    """Starts both sides and reports them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--mlp_dim", type=int, default=3072)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=16, help="patches per image side")
    parser.add_argument("--steps", type=int, default=3, help="timed steps per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--unroll", type=int, default=0, help="of nn.scan; 0 = depth")
    parser.add_argument(
        "--keep_memory",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="both sides keep freed memory, as cogvit_jax.main does on CPU",
    )
    parser.add_argument("--role", choices=sorted(SIDES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        if args.keep_memory:
            from cogvit_jax.host_memory import keep_freed_memory

            keep_freed_memory()
        serve(SIDES[args.role](args), args)
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Alternates rounds of the two worker processes."""
    command = [sys.executable, __file__, *sys.argv[1:], "--role"]
    workers = {
        role: subprocess.Popen(
            [*command, role], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for role in SIDES
    }
    speeds: dict[str, list[float]] = {role: [] for role in SIDES}
    for number in range(args.rounds + 1):
        for role, worker in workers.items():
            worker.stdin.write("go\n")
            worker.stdin.flush()
            speed = json.loads(worker.stdout.readline())
            if number:  # the first round compiles and warms up
                speeds[role].append(speed)
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    ratios = [a / b for a, b in zip(speeds["cogvit_jax"], speeds["transformers"], strict=True)]
    for role, found in speeds.items():
        print(f"{role:>13}: median {statistics.median(found):.2f} images/s, all {rounded(found)}")
    print(f"        ratio: median {statistics.median(ratios):.2f}, all {rounded(ratios)}")


def rounded(values: list[float]) -> list[float]:
    """For printing."""
    return [round(v, 2) for v in values]


def serve(step: Callable[[], None], args: argparse.Namespace) -> None:
    """Runs a round for each line on stdin and answers with images/s."""
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(args.steps):
            step()
        print(json.dumps(args.steps * args.batch / (time.perf_counter() - start)), flush=True)


def jax_side(args: argparse.Namespace) -> Callable[[], None]:
    """One training step of our encoder."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from cogvit_jax.models import vit

    model = vit.build(
        vit.VisionSettings(
            width=args.width,
            depth=args.depth,
            num_heads=args.width // 64,
            mlp_dim=args.mlp_dim,
            dtype="float32",
            remat="none",
            scan_unroll=args.unroll or args.depth,
        )
    )
    tokens = args.side**2
    patches = np.random.default_rng(0).normal(size=(args.batch, tokens, 588)).astype(np.float32)
    grid = np.indices((args.side, args.side), np.int32).reshape(2, -1).T
    positions = jnp.asarray(np.repeat(grid[None], args.batch, 0))
    segments = jnp.ones((args.batch, tokens), jnp.int32)
    params = model.init(jax.random.key(0), patches, positions, segments)["params"]
    optimizer = optax.adamw(1e-4)
    state = {"params": params, "opt": optimizer.init(params)}

    @jax.jit
    def update(params, opt):
        def loss(params):
            features = model.apply({"params": params}, patches, positions, segments)
            return jnp.mean(jnp.square(features))

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt = optimizer.update(grads, opt, params)
        return optax.apply_updates(params, updates), opt, value

    def step() -> None:
        state["params"], state["opt"], value = update(state["params"], state["opt"])
        value.block_until_ready()

    return step


def torch_side(args: argparse.Namespace) -> Callable[[], None]:
    """One training step of transformers' GLM-OCR vision tower, up to its final norm."""
    import torch
    from transformers.models.glm_ocr import configuration_glm_ocr as configuration
    from transformers.models.glm_ocr import modeling_glm_ocr as modeling

    config = configuration.GlmOcrVisionConfig(
        depth=args.depth,
        hidden_size=args.width,
        num_heads=args.width // 64,
        intermediate_size=args.mlp_dim,
        out_hidden_size=8,  # the merger behind the encoder is not compared
        patch_size=14,
    )
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    model = modeling.GlmOcrVisionModel(config)
    model.train()
    kept = {}
    model.post_layernorm.register_forward_hook(lambda m, i, output: kept.update(features=output))
    pixels = torch.randn(args.batch * args.side**2, 3 * 2 * 14 * 14)
    grid = torch.tensor([[1, args.side, args.side]] * args.batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(pixels, grid_thw=grid)
        kept["features"].square().mean().backward()
        optimizer.step()

    return step


SIDES = {"cogvit_jax": jax_side, "transformers": torch_side}

if __name__ == "__main__":
    main()
