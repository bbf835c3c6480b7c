"""Training steps beside other implementations of the same work, in turns, on CPU.

    pip install -e '.[parity]' && python -m benchmarks.encoder
    python -m benchmarks.encoder --model=siglip [--big_vision=DIR] [--json=FILE]

`encoder`: CogViT against the same architecture in transformers/torch; forward, backward of the mean
square feature, AdamW. `siglip`: the stage 2 step, as `cogvit_jax.main` runs it, at ViT-B/16-224
with a text tower of the same size over 64 tokens, against transformers' SiglipModel and against
`two_towers` of a checkout of github.com/google-research/big_vision; forward, backward of the
sigmoid loss, clipping by the global norm, AdamW. Ours has RoPE, QK-norm and SwiGLU of two thirds
the width, which is as many matrix products as their GELU MLP.

All sides: f32, the same batch size, a process each (all but the one that is asked stand idle);
rounds alternate, so that ratios hold while the machine's speed drifts. Figures are measured.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType


def main() -> None:
    """Starts all sides and reports them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=sorted(SIDES), default="encoder")
    parser.add_argument("--big_vision", help="folder of a checkout, for --model=siglip")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--mlp_dim", type=int, default=3072)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, help="patches per image side; default 16, siglip: 14")
    parser.add_argument("--vocab_size", type=int, default=3840, help="of siglip's text towers")
    parser.add_argument("--steps", type=int, default=3, help="timed steps per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--unroll", type=int, default=0, help="of nn.scan; 0 = depth")
    parser.add_argument("--json", help="file to write all figures to")
    parser.add_argument(
        "--keep_memory",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="all sides keep freed memory, as cogvit_jax.main does on CPU",
    )
    parser.add_argument("--role", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.side = args.side or {"encoder": 16, "siglip": 14}[args.model]
    if args.role:
        if args.keep_memory:
            from cogvit_jax.host_memory import keep_freed_memory

            keep_freed_memory()
        serve(SIDES[args.model][args.role](args), args)
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Alternates rounds of the worker processes."""
    command = [sys.executable, __file__, *sys.argv[1:], "--role"]
    roles = [r for r in SIDES[args.model] if r != "big_vision" or args.big_vision]
    workers = {
        role: subprocess.Popen(
            [*command, role], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for role in roles
    }
    speeds: dict[str, list[float]] = {role: [] for role in roles}
    for number in range(args.rounds + 1):
        for role, worker in workers.items():
            worker.stdin.write("go\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
            if not answer:
                sys.exit(f"{role} ended (out of memory?): its message stands above, if it had one.")
            speed = json.loads(answer)
            if number:  # the first round compiles and warms up
                speeds[role].append(speed)
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    report(speeds, args)


def report(speeds: dict[str, list[float]], args: argparse.Namespace) -> None:
    """Prints images/s and, against each of the others, the ratio of every round."""
    ours = speeds["cogvit_jax"]
    print(f"measured, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    figures: dict[str, object] = {"arguments": vars(args), "images_per_second": speeds}
    for role, found in speeds.items():
        print(f"{role:>13}: median {statistics.median(found):.2f} images/s, all {rounded(found)}")
    for role in speeds.keys() - {"cogvit_jax"}:
        ratios = [a / b for a, b in zip(ours, speeds[role], strict=True)]
        print(f"ours / {role}: median {statistics.median(ratios):.2f}, all {rounded(ratios)}")
        figures[f"ratio/{role}"] = ratios
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2), encoding="utf-8")


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


def jax_siglip_side(args: argparse.Namespace) -> Callable[[], None]:
    """The step that `cogvit_jax.main` takes, with towers of the sizes given and AdamW only."""
    from rich.console import Console

    from cogvit_jax import settings, sharding, train_loop, train_step
    from cogvit_jax.programs import stage2 as program
    from configs import stage2

    config = stage2.get_config("tiny").unlock()
    for tower in (config.vision, config.text):
        tower.width, tower.depth, tower.num_heads = args.width, args.depth, args.width // 64
        tower.mlp_dim, tower.scan_unroll = args.mlp_dim, args.unroll or args.depth
    config.vision.mlp_dim = 2 * args.mlp_dim // 3
    config.vision.patch_size = 16
    config.embed_dim = args.width
    config.optim.algorithm_rules = ((".*", "adamw"),)
    config.data.update(
        train="embedded:digits/train",  # square, so that they fill their budget
        heldout="",
        global_batch=args.batch,
        lengths=(args.side**2,),
        text_length=64,
        crop_scale=(1.0, 1.0),
    )
    mesh = sharding.make_mesh(settings.read(sharding.MeshSettings, config.mesh, "config.mesh"))
    built = program.build(config, mesh)
    options = settings.read(train_loop.TrainSettings, config.train, "config.train")
    setup = train_loop.prepare(built, config, options, Console(quiet=True))
    batches = built.batches(None)
    batch = next(batches)
    batches.close()
    states = [train_step.init_state(built, setup.optimizer.transform, 0, setup.shardings)]

    def step() -> None:
        state, metrics = setup.step_fn(states.pop(), built.frozen(), batch)
        states.append(state)
        metrics["loss"].block_until_ready()

    return step


def big_vision_side(args: argparse.Namespace) -> Callable[[], None]:
    """One training step of big_vision's two towers; its TensorFlow, for files only, is left out."""
    import flax.training.checkpoints  # noqa: F401  # before the stand-in, which it would find
    import jax
    import jax.numpy as jnp
    import optax

    stubs = {n: ModuleType(n) for n in ("tensorflow", "tensorflow.io", "tensorflow.io.gfile")}
    stubs["tensorflow"].io = stubs["tensorflow.io"]
    stubs["tensorflow.io"].gfile = stubs["tensorflow.io.gfile"]
    sys.path.insert(0, args.big_vision)
    sys.modules.update(stubs)
    from big_vision.models.proj.image_text import text_transformer, two_towers  # noqa: F401

    for name in stubs:
        del sys.modules[name]

    tower = {"width": args.width, "depth": args.depth, "mlp_dim": args.mlp_dim}
    tower["num_heads"] = args.width // 64
    model = two_towers.Model(
        image=tower | {"patch_size": (16, 16), "pool_type": "map"},
        text=tower | {"vocab_size": args.vocab_size},
        out_dim=(args.width, args.width),
        temperature_init=10.0,
        bias_init=-10.0,
    )
    keys = jax.random.split(jax.random.key(0), 3)
    images = jax.random.normal(keys[0], (args.batch, 16 * args.side, 16 * args.side, 3))
    texts = jax.random.randint(keys[1], (args.batch, 64), 0, args.vocab_size)
    params = jax.jit(model.init)(keys[2], images, texts)["params"]
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-4, b2=0.95))
    states = [(params, jax.jit(optimizer.init)(params))]

    def update(state, images, texts):
        params, opt = state

        def loss(params):
            z_images, z_texts, out = model.apply({"params": params}, images, texts)
            logits = z_images @ z_texts.T * out["t"] + out["b"]
            signs = 2 * jnp.eye(len(images)) - 1
            return -jnp.mean(jnp.sum(jax.nn.log_sigmoid(signs * logits), -1))

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt = optimizer.update(grads, opt, params)
        return (optax.apply_updates(params, updates), opt), value

    update = jax.jit(update, donate_argnums=0)

    def step() -> None:
        state, value = update(states.pop(), images, texts)
        states.append(state)
        value.block_until_ready()

    return step


def torch_siglip_side(args: argparse.Namespace) -> Callable[[], None]:
    """One training step of transformers' SiglipModel."""
    import torch
    from transformers import SiglipConfig, SiglipModel

    tower = {
        "hidden_size": args.width,
        "num_hidden_layers": args.depth,
        "num_attention_heads": args.width // 64,
        "intermediate_size": args.mlp_dim,
    }
    vision = tower | {"image_size": 16 * args.side, "patch_size": 16}
    texts = tower | {"vocab_size": args.vocab_size, "max_position_embeddings": 64}
    texts |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = SiglipConfig(vision_config=vision, text_config=texts)
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    model = SiglipModel(config)
    model.train()
    pixels = torch.randn(args.batch, 3, 16 * args.side, 16 * args.side)
    tokens = torch.randint(0, args.vocab_size, (args.batch, 64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(input_ids=tokens, pixel_values=pixels, return_loss=True).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


SIDES = {
    "encoder": {"cogvit_jax": jax_side, "transformers": torch_side},
    "siglip": {
        "cogvit_jax": jax_siglip_side,
        "big_vision": big_vision_side,
        "transformers": torch_siglip_side,
    },
}

if __name__ == "__main__":
    main()
