"""What `config.evals` asks for of a vision-language model, on each source of `data.heldout`."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cogvit_jax import settings
from cogvit_jax.data.assets import FONT_PATH
from cogvit_jax.data.mixture import open_mixture, short_names
from cogvit_jax.data.records import CorruptRecord, Source
from cogvit_jax.program import Evaluator
from mmtp.data import packing
from mmtp.data.documents import encode_prompt, stop_tokens
from mmtp.data.encoded import Encoded
from mmtp.data.layout import Layout
from mmtp.data.pipeline import DocumentExample, put_batch
from mmtp.data.sources import open_source
from mmtp.evals import acceptance
from mmtp.evals.answers import Question, answers, make_questions
from mmtp.evals.heldout import encode_some, make_heldout, spread
from mmtp.evals.interference import make_interference
from mmtp.evals.teacher_forcing import NEEDED, make_teacher_forced
from mmtp.generate import Engine, EngineSettings, Request
from mmtp.models import decoder
from mmtp.models.attend import Attend
from mmtp.models.vlm import VLM
from mmtp.programs import vlm_loss
from mmtp.programs.vlm_loss import LossSettings
from mmtp.programs.vlm_statistics import with_router_bias


@dataclasses.dataclass(frozen=True)
class EvalSettings:
    """`config.evals`.

    Attributes:
        documents: of each source, for losses; 0 = none.
        answers: questions of each source that are answered greedily and checked; 0 = none.
        panel: of them, how many are shown in a picture.
        max_new_tokens: most tokens of a reply.
        batch_size: prompts that are completed together.
        acceptance: questions that are also answered with drafts, for the acceptance length, which
            is then predicted from `documents`, too; 0 = neither.
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
    example: DocumentExample,
    loss: LossSettings,
    attend: Attend,
    mesh: Mesh,
) -> dict[str, Evaluator]:
    """Evaluators by name; opens the sources.

    Args:
        config: a whole config.
        model: to evaluate.
        example: how documents are encoded and laid out in training.
        loss: `config.loss`.
        attend: the decoder's attention.
        mesh: devices.
    """
    options = settings.read(EvalSettings, config.evals, "config.evals")
    if not config.data.heldout:
        return {}
    sources, _ = open_mixture(config.data.heldout, "config.data.heldout", open_source)
    found: dict[str, Evaluator] = {}
    layout = example.layout
    whole = dataclasses.replace(layout, padded=True, planned_groups=layout.groups)
    batch_size = rows_per_host(layout)
    collate, place = packing.Collate(whole), partial(put_batch, mesh)
    for name, source in zip(short_names(config.data.heldout), sources, strict=True):
        encoded, _ = encode_some(source, partial(as_example, example), options.documents)
        batches = collate, place, encoded, batch_size
        if encoded:
            losses = vlm_loss.make_loss(model, loss, attend)
            found[f"heldout/{name}"] = make_heldout(losses, *batches)
        if encoded and options.acceptance and model.mtp.depth:
            predict = make_predict(model, loss, attend, mesh)
            found[f"teacher_forced/{name}"] = make_teacher_forced(predict, *batches)
        questions = ask(source, example, options)
        if questions:
            found |= with_engine(name, questions, model, example, options)
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


def as_example(example: DocumentExample, document: Any) -> Encoded:
    """A held-out document as it would be trained on; CorruptRecord where it fits no row."""
    encoded = example.encode(document)
    if len(encoded.visuals) > example.layout.vision_rows:
        raise CorruptRecord(f"{document.id} has more pictures than a group's vision rows")
    return encoded


def make_predict(
    model: VLM, loss: LossSettings, attend: Attend, mesh: Mesh
) -> Callable[[Any, dict[str, Any]], Any]:
    """(params, batch) -> most probable tokens of all heads, and of the batch what is `NEEDED`.

    Both whole on every host. The heads get what they get in training.
    """

    @partial(jax.jit, out_shardings=NamedSharding(mesh, PartitionSpec()))
    def predict(params: Any, batch: dict[str, Any]) -> tuple[jax.Array, dict[str, jax.Array]]:
        weights = with_router_bias(_weights(params), params.get("statistics"))
        x, rows = vlm_loss.first(model, weights, batch), vlm_loss.join_groups(batch)
        inputs, own = vlm_loss.make_inputs(model, rows), weights["decoder"]
        hidden, _ = decoder.run(own, model.decoder, x, inputs, attend=attend)
        found = vlm_loss.all_heads(model, loss, weights, hidden, x, rows, inputs, attend)
        return found.predicted, {name: rows[name] for name in NEEDED}

    return predict


def ask(source: Source, example: DocumentExample, options: EvalSettings) -> list[Question]:
    """Questions evenly spread over a source."""
    some = [source.records[i] for i in spread(len(source.records), options.answers)]
    found = make_questions(
        some,  # type: ignore[arg-type]  # records of these sources are documents
        lambda messages: encode_prompt(messages, example.tokenizer, example.images, example.chat),
        stop_tokens(example.tokenizer),
        options.max_new_tokens,
    )
    longest = example.layout.seq_len - options.max_new_tokens
    return [q for q in found if len(q.request.prompt.tokens) <= longest]


def with_engine(
    name: str,
    questions: list[Question],
    model: VLM,
    example: DocumentExample,
    options: EvalSettings,
) -> dict[str, Evaluator]:
    """Evaluators that let the model speak."""
    layout = example.layout
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
            # Marks of places, calls and thoughts are what replies are checked by.
            partial(example.tokenizer.decode, skip_special=False),
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
) -> dict[str, Any]:
    """Acceptance lengths of drafts, in all, by category and by distance from a picture."""
    completions = engine(params).generate(requests)
    return acceptance.figures(acceptance.generated(requests, completions))


def engine(model: VLM, sizes: EngineSettings, params: Any) -> Engine:
    """What completes prompts with a state's parameters."""
    weights = with_router_bias(_weights(params), params.get("statistics"))
    return Engine(model, weights, sizes)


def _weights(params: Any) -> dict[str, Any]:
    return {name: x for name, x in params.items() if name != "statistics"}


def with_weight(model: VLM, weight: float) -> VLM:
    """The model with a fixed weight of multi-token prediction."""
    fixed = dataclasses.replace(model.mtp, weight_start=weight, weight_end=weight)
    return dataclasses.replace(model, mtp=fixed)
