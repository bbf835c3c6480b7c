"""A small TwoTowers, how each of its parameters is to be optimized, and optimizers for it."""

import functools

import jax
import numpy as np
import optax

from cogvit_jax import tree
from cogvit_jax.models import text, vit
from cogvit_jax.models.two_towers import TwoTowers
from configs import stage2
from tests.random_params import random_params

FAST_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
LR = {"vision": 3e-3, "text": 1e-3, "projection": 7e-3}
WEIGHT_DECAY = {"vision": 0.1, "text": 0.3, "projection": 0.2}

# Parameter -> algorithm, its matrices ("how many of rows×columns"), multiplier of weight decay.
EXPECTED = """
bias                                 adamw -          0
image_pool/key/bias                  adamw -          0
image_pool/key/kernel                muon  1 of 24×24 1
image_pool/mlp/down/bias             adamw -          0
image_pool/mlp/down/kernel           muon  1 of 40×24 1
image_pool/mlp/up/bias               adamw -          0
image_pool/mlp/up/kernel             muon  1 of 24×40 1
image_pool/norm/bias                 adamw -          0
image_pool/norm/scale                adamw -          0
image_pool/out/bias                  adamw -          0
image_pool/out/kernel                muon  1 of 24×24 1
image_pool/probe                     adamw -          0
image_pool/query/bias                adamw -          0
image_pool/query/kernel              muon  1 of 24×24 1
image_pool/value/bias                adamw -          0
image_pool/value/kernel              muon  1 of 24×24 1
image_projection/bias                adamw -          0
image_projection/kernel              muon  1 of 24×20 1
log_scale                            adamw -          0
text/blocks/attention/k_norm/scale   adamw -          0
text/blocks/attention/out/bias       adamw -          0
text/blocks/attention/out/kernel     muon  3 of 16×16 1
text/blocks/attention/q_norm/scale   adamw -          0
text/blocks/attention/qkv/bias       adamw -          0
text/blocks/attention/qkv/kernel     muon  9 of 16×16 1
text/blocks/mlp/down/bias            adamw -          0
text/blocks/mlp/down/kernel          muon  3 of 36×16 1
text/blocks/mlp/up/bias              adamw -          0
text/blocks/mlp/up/kernel            muon  3 of 16×36 1
text/blocks/norm1/bias               adamw -          0
text/blocks/norm1/scale              adamw -          0
text/blocks/norm2/bias               adamw -          0
text/blocks/norm2/scale              adamw -          0
text/embedding/embedding             adamw -          1
text/norm/bias                       adamw -          0
text/norm/scale                      adamw -          0
text/positions                       adamw -          1
text_projection/bias                 adamw -          0
text_projection/kernel               muon  1 of 16×20 1
vision/blocks/attention/k_norm/scale adamw -          0
vision/blocks/attention/out/bias     adamw -          0
vision/blocks/attention/out/kernel   muon  2 of 24×24 1
vision/blocks/attention/q_norm/scale adamw -          0
vision/blocks/attention/qkv/bias     adamw -          0
vision/blocks/attention/qkv/kernel   muon  6 of 24×24 1
vision/blocks/mlp/down/bias          adamw -          0
vision/blocks/mlp/down/kernel        muon  2 of 40×24 1
vision/blocks/mlp/gate/bias          adamw -          0
vision/blocks/mlp/gate/kernel        muon  2 of 24×40 1
vision/blocks/mlp/up/bias            adamw -          0
vision/blocks/mlp/up/kernel          muon  2 of 24×40 1
vision/blocks/norm1/scale            adamw -          0
vision/blocks/norm2/scale            adamw -          0
vision/norm/scale                    adamw -          0
vision/patch_embedding/bias          adamw -          0
vision/patch_embedding/kernel        adamw -          1
"""


def expected_routes():
    """name -> (group, algorithm, matrices, decay multiplier)."""
    routes = {}
    for line in EXPECTED.strip().splitlines():
        name, algorithm, *matrices, decay = line.split()
        tower = name.split("/")[0]
        group = tower if tower in ("vision", "text") else "projection"
        routes[name] = (group, algorithm, " ".join(matrices), float(decay))
    return routes


ROUTES = expected_routes()


def config(**fields):
    """The smoke config's rules, with constant rates that differ by group and no clipping."""
    options = stage2.get_config("smoke").optim.to_dict() | {"clip_norm": 0.0}
    for name, group in options["groups"].items():
        group |= {"lr": LR[name], "weight_decay": WEIGHT_DECAY[name]}
        group |= {"schedule": "constant", "warmup_steps": 0}
    return options | fields


def with_group(name, **fields):
    options = config()
    options["groups"][name] |= fields
    return options


def only(name, muon_coefficients="quintic", **fields):
    """All other groups are frozen, which also saves compiling them."""
    options = with_group(name, **fields) | {"muon_coefficients": muon_coefficients}
    for other in options["groups"].keys() - {name}:
        options["groups"][other]["freeze"] = True
    return options


def make_params():
    """TwoTowers at a small size whose widths differ from each other."""
    model = TwoTowers(
        vision_settings=vit.VisionSettings("tiny", 24, 2, 3, 40, patch_size=2, dtype="float32"),
        text_settings=text.TextSettings("tiny", 16, 3, 2, 36, dtype="float32"),
        vocab_size=11,
        embed_dim=20,
    )
    image = {
        "patches": np.zeros((1, 1, 12), np.uint8),
        "positions": np.zeros((1, 1, 2), np.int32),
        "segments": np.ones((1, 1), np.int32),
    }
    return random_params(model.init, image, np.zeros((1, 5), np.int32))


def gradients(params, steps=3):
    rng = np.random.default_rng(0)
    return [
        jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), params)
        for _ in range(steps)
    ]


@functools.cache
def compiled(update):
    return jax.jit(update, compiler_options=FAST_COMPILE)


def run(transform, params, grads):
    """The updates of each step; parameters follow them."""
    update, state, out = compiled(transform.update), transform.init(params), []
    for g in grads:
        updates, state = update(g, state, params)
        params = optax.apply_updates(params, updates)
        out.append(updates)
    return out


def named(params):
    return dict(tree.named_leaves(params))


def rate(name):
    group, _, _, decay = ROUTES[name]
    return LR[group], WEIGHT_DECAY[group] * decay


def names(algorithm):
    return [name for name, route in ROUTES.items() if route[1] == algorithm]
