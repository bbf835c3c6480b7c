"""Random vision-language models of a few thousand parameters, and prompts for them."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from cogvit_jax.models.vit import VisionSettings
from cogvit_jax.models.vit import build as build_vision
from mmtp.data.chat import ChatSettings
from mmtp.data.encoded import Encoded, Visual
from mmtp.data.images import ImageSettings
from mmtp.data.tokenizer import Tokenizer, load_tokenizer
from mmtp.generate import Request, make_request
from mmtp.models import decoder, vlm
from mmtp.models.decoder import DecoderSettings, resolve
from mmtp.models.mtp import MTPSettings
from mmtp.models.vlm import VLM

VOCAB, IMAGE = 13, 12  # few tokens, so that random drafts are often right
PATCH = 4


def model(vocab: int = VOCAB, image_token: int = IMAGE, **mtp: Any) -> VLM:
    language = DecoderSettings(
        size="tiny",
        width=32,
        depth=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        mlp_dim=48,
        vocab_size=vocab,
        rotary_dim=8,
        mrope_sections=(2, 1, 1),
    )
    vision = VisionSettings(
        size="tiny", width=16, depth=1, num_heads=2, mlp_dim=32, patch_size=PATCH, dtype="float32"
    )
    return VLM(
        vision=build_vision(vision),
        decoder=resolve(language),
        mtp=MTPSettings(**mtp),
        image_token=image_token,
        patch_dim=3 * PATCH**2,
    )


@functools.cache
def init(tiny: VLM, seed: int = 0) -> Any:
    """Parameters with embeddings and layers enlarged: as they begin, logits would hardly differ,
    and drafts would never be right. Made once in a process: change none of it.
    """
    params = vlm.init(tiny, jax.random.key(seed))
    table = params["decoder"]["embedding"]
    table["table"] = 0.4 * tiny.decoder.width**0.5 * table["table"]
    blocks = [params["decoder"]["blocks"]]
    if tiny.mtp.depth:
        blocks.append(params["mtp"]["blocks"]["block"])
    for block in blocks:
        for name in decoder.POST_NORMS:
            block[name]["scale"] = np.ones_like(block[name]["scale"])
    return params


def prompt(rng: np.random.Generator, num_text: int, grids: tuple[tuple[int, int], ...]) -> Encoded:
    """Random text with pictures of some grids (in patches) at random places."""
    tokens: list[int] = list(rng.integers(0, IMAGE, num_text))
    visuals = []
    places = sorted(int(p) for p in rng.integers(0, num_text, len(grids)))
    added = 0
    for place, (rows, columns) in zip(places, grids, strict=True):
        patches = rng.integers(0, 256, (rows * columns, 3 * PATCH**2)).astype(np.uint8)
        visual = Visual(patches, (rows, columns), place + added)
        tokens[visual.start : visual.start] = [IMAGE] * visual.num_tokens
        visuals.append(visual)
        added += visual.num_tokens
    ids = np.asarray(tokens, np.int32)
    return Encoded(ids, np.zeros(len(ids), bool), tuple(visuals), 0, "prompt")


def requests(data_seed: int, num: int, max_new_tokens: int = 12, **options: Any) -> list[Request]:
    """Requests of unequal lengths and numbers of pictures."""
    rng = np.random.default_rng(data_seed)
    choices = ((2, 4), (4, 4), (6, 2), (2, 2))
    made = []
    for number in range(num):
        grids = tuple(choices[i] for i in rng.integers(0, len(choices), rng.integers(0, 3)))
        encoded = prompt(rng, int(rng.integers(1, 9)), grids)
        made.append(make_request(number, encoded, max_new_tokens, **options))
    return made


@functools.cache
def loaded() -> Any:
    """A random model with the embedded vocabulary, as `mmtp.run.load` gives one."""
    tokenizer = load_tokenizer()
    tiny = model(tokenizer.vocab_size, tokenizer.id("<|image|>"), depth=1)
    images = ImageSettings(patch_size=PATCH, min_patches=4, max_patches=64)
    return Loaded(
        tiny,
        init(tiny),
        tokenizer,
        images,
        ChatSettings(),
        name="tiny",
        max_length=160,
        vision_length=64,
    )


@dataclass(frozen=True)
class Loaded:
    """What of `mmtp.run.Loaded` is needed to ask a model."""

    model: VLM
    params: Any
    tokenizer: Tokenizer
    images: ImageSettings
    chat: ChatSettings
    name: str
    max_length: int
    vision_length: int
