"""What `config.evals` asks for of a vision-language model, on each source of `data.heldout`."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from jax.sharding import Mesh

from cogvit_jax import settings
from cogvit_jax.data.assets import FONT_PATH
from cogvit_jax.data.mixture import open_mixture, short_names
from cogvit_jax.data.records import CorruptRecord, Source
from cogvit_jax.program import Evaluator
from mmtp.data import packing
from mmtp.data.documents import encode, encode_prompt, stop_tokens
from mmtp.data.encoded import Encoded
from mmtp.data.images import ImageSettings
from mmtp.data.layout import Layout
from mmtp.data.pipeline import put_batch
from mmtp.data.sources import open_source
from mmtp.data.tokenizer import Tokenizer
from mmtp.evals import acceptance
from mmtp.evals.answers import Question, answers, make_questions
from mmtp.evals.heldout import encode_some, make_heldout, spread
from mmtp.evals.interference import make_interference
from mmtp.generate import Engine, EngineSettings, Request
from mmtp.models.attend import Attend
from mmtp.models.vlm import VLM
from mmtp.programs import vlm_loss
from mmtp.programs.vlm_loss import LossSettings


@dataclasses.dataclass(frozen=True)
class EvalSettings:
    """`config.evals`.

    Attributes:
        documents: of each source, for losses; 0 = none.
        answers: questions of each source that are answered greedily and checked; 0 = none.
        panel: of them, how many are shown in a picture.
        max_new_tokens: most tokens of a reply.
        batch_size: prompts that are completed together.
        acceptance: questions that are also answered with drafts, for the acceptance length.
        draft_tokens: drafted per step there.
        interference: compare the gradients of the main head and of multi-token prediction.
    """

    documents: int = 64
    answers: int = 0
    panel: int = 24
    max_new_tokens: int = 32
    batch_size: int = 16
    acceptance: int = 0
    draft_tokens: int = 3
    interference: bool = False


def make_evaluators(
    config: Any,
    model: VLM,
    tokenizer: Tokenizer,
    images: ImageSettings,
    layout: Layout,
    loss: LossSettings,
    attend: Attend,
    mesh: Mesh,
) -> dict[str, Evaluator]:
    """Evaluators by name; opens the sources."""
    options = settings.read(EvalSettings, config.evals, "config.evals")
    if not config.data.heldout:
        return {}
    sources, _ = open_mixture(config.data.heldout, "config.data.heldout", open_source)
    found: dict[str, Evaluator] = {}
    whole = dataclasses.replace(layout, padded=True, planned_groups=layout.groups)
    batch_size = rows_per_host(layout)
    collate, place = packing.Collate(whole), partial(put_batch, mesh)
    for name, source in zip(short_names(config.data.heldout), sources, strict=True):
        encoded, _ = encode_some(
            source,
            partial(as_example, tokenizer, images, config.data.supervise, layout),
            options.documents,
        )
        if encoded:
            losses = vlm_loss.make_loss(model, loss, attend)
            found[f"heldout/{name}"] = make_heldout(losses, collate, place, encoded, batch_size)
        questions = ask(source, tokenizer, images, options, layout.seq_len)
        if questions:
            found |= with_engine(name, questions, model, tokenizer, layout, options)
        if options.interference and model.mtp.depth and encoded and "interference" not in found:
            batch = place(collate([{"document": d} for d in encoded[:batch_size]])["arrays"])
            found["interference"] = make_interference(
                vlm_loss.make_loss(with_weight(model, 0.0), loss, attend),
                vlm_loss.make_loss(with_weight(model, 1.0), loss, attend),
                batch,
            )
    return found


def rows_per_host(layout: Layout) -> int:
    """Documents that one padded batch of this host holds."""
    return min(layout.groups * layout.rows, layout.groups * layout.vision_rows)


def as_example(
    tokenizer: Tokenizer, images: ImageSettings, supervise: str, layout: Layout, document: Any
) -> Encoded:
    """A held-out document as it would be trained on; CorruptRecord where it fits no row."""
    encoded = encode(document, tokenizer, images, supervise, max_tokens=layout.seq_len)
    packing.check_fits(encoded, layout)
    if len(encoded.visuals) > layout.vision_rows:
        raise CorruptRecord(f"{document.id} has more pictures than a group's vision rows")
    return encoded


def ask(
    source: Source,
    tokenizer: Tokenizer,
    images: ImageSettings,
    options: EvalSettings,
    max_length: int,
) -> list[Question]:
    """Questions evenly spread over a source."""
    some = [source.records[i] for i in spread(len(source.records), options.answers)]
    found = make_questions(
        some,  # type: ignore[arg-type]  # records of these sources are documents
        lambda messages: encode_prompt(messages, tokenizer, images),
        stop_tokens(tokenizer),
        options.max_new_tokens,
    )
    longest = max_length - options.max_new_tokens
    return [q for q in found if len(q.request.prompt.tokens) <= longest]


def with_engine(
    name: str,
    questions: list[Question],
    model: VLM,
    tokenizer: Tokenizer,
    layout: Layout,
    options: EvalSettings,
) -> dict[str, Evaluator]:
    """Evaluators that let the model speak."""
    sizes = EngineSettings(
        rows=options.batch_size,
        max_length=layout.seq_len,
        buckets=(layout.seq_len // 2,),
        vision_length=layout.vision_row_length,
    )
    found: dict[str, Evaluator] = {
        f"answers/{name}": partial(
            answers,
            partial(engine, model, sizes),
            tokenizer.decode,
            questions,
            FONT_PATH,
            options.panel,
        )
    }
    if options.acceptance and model.mtp.depth:
        drafting = dataclasses.replace(sizes, num_draft=options.draft_tokens)
        found[f"acceptance/{name}"] = partial(
            speculate,
            partial(engine, model, drafting),
            [q.request for q in questions[: options.acceptance]],
        )
    return found


def speculate(
    engine: Callable[[Any], Engine], requests: list[Request], params: Any
) -> dict[str, float]:
    """Acceptance lengths of drafts, in all, by category and by distance from a picture."""
    completions = engine(params).generate(requests)
    return acceptance.flat(acceptance.generated(requests, completions), prefix="drafts")


def engine(model: VLM, sizes: EngineSettings, params: Any) -> Engine:
    """What completes prompts with a state's parameters."""
    weights = {name: x for name, x in params.items() if name != "statistics"}
    return Engine(model, vlm_loss.with_router_bias(weights, params.get("statistics")), sizes)


def with_weight(model: VLM, weight: float) -> VLM:
    """The model with a fixed weight of multi-token prediction."""
    fixed = dataclasses.replace(model.mtp, weight_start=weight, weight_end=weight)
    return dataclasses.replace(model, mtp=fixed)
