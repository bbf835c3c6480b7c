"""The sections of `configs/rl.py`, read and checked."""

import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh

from cogvit_jax import settings, sharding
from cogvit_jax.settings import ConfigError
from mmtp.data.tokenizer import load_tokenizer
from mmtp.generate import EngineSettings
from mmtp.models.decoder import DecoderConfig
from mmtp.models.vlm import VLM
from mmtp.programs import vlm as vlm_program
from mmtp.run import one_device
from rl import algorithm
from rl.batch_arrays import PackingSettings
from rl.executors import settings as executor_settings
from rl.executors.settings import ExecutorSettings
from rl.losses.settings import AlgorithmSettings
from rl.policy import Policy
from rl.prompts import Encoder
from rl.rollout import sampling as samplings
from rl.rollout import schedule_settings
from rl.rollout.local import LocalSettings
from rl.rollout.local import check as check_local
from rl.rollout.sampling import SamplingSettings
from rl.rollout.schedule_settings import RolloutSettings
from rl.weights import WeightSettings
from rl.weights import check as check_weights


@dataclasses.dataclass(frozen=True)
class EngineConfig:
    """`config.engine`: a rollout engine of ours, wherever `config.executor` has it work.

    Attributes:
        rows: requests in progress at a time.
        prefixes: prompts that are kept read for the samples of their group.
        buckets: lengths that prompts are padded to.
        num_draft: tokens that the multi-token-prediction layers draft per step; 0 = none.
        draft: "greedy" or "sampled".
        steps: decoding steps between two looks at what has come in.
        running: what becomes of replies in progress when weights are published: "continue",
            "recompute" or "finish"; see `rl.rollout.local.LocalSettings`.
    """

    rows: int
    prefixes: int = 4
    buckets: tuple[int, ...] = (128, 512)
    num_draft: int = 0
    draft: str = "sampled"
    steps: int = 8
    running: str = "continue"


@dataclasses.dataclass(frozen=True)
class Read:
    """What is read of a config.

    Attributes:
        config: all of it.
        mesh: devices of the trainer.
        model, engine_model: on the mesh, and on the one device of the engine.
        algorithm, rollout, sampling, packing: sections.
        engine_settings, local: of the engine.
        executor, weights: where engines are, and how weights travel to them.
        encoder: episodes -> tokens.
        policy: what is trained.
        workdir: of the run; "" = nothing is run.
    """

    config: Any
    mesh: Mesh
    model: VLM
    engine_model: VLM
    algorithm: AlgorithmSettings
    rollout: RolloutSettings
    sampling: SamplingSettings
    packing: PackingSettings
    engine_settings: EngineSettings
    local: LocalSettings
    executor: ExecutorSettings
    weights: WeightSettings
    encoder: Encoder
    policy: Policy
    workdir: str

    @property
    def max_samples(self) -> int:
        """Of a batch."""
        return self.rollout.group_size * self.rollout.batch_groups

    @property
    def num_shards(self) -> int:
        """Parts of the mesh that have groups of their own."""
        return sharding.num_batch_shards(self.mesh)

    def num_microbatches(self, batch: dict[str, Any]) -> int:
        """Of a batch, from its shape."""
        return batch["tokens"].shape[0] // self.num_shards


def read(config: Any, mesh: Mesh | None, workdir: str) -> Read:
    """All sections, checked; raises ConfigError."""
    mesh = mesh or sharding.make_mesh(
        settings.read(sharding.MeshSettings, config.mesh, "config.mesh")
    )
    if mesh.shape["stage"] > 1:
        raise ConfigError(
            f"config.mesh.stage = {mesh.shape['stage']}: reinforcement learning has no pipeline of "
            "stages; set it to 1 and split over fsdp or tensor."
        )
    tokenizer = load_tokenizer(config.data.tokenizer)
    model = vlm_program.make_model(config, tokenizer, mesh)
    images, chat = vlm_program.read_images(config), vlm_program.read_chat(config)
    encoder = Encoder(tokenizer, images, chat)
    sampled = settings.read(SamplingSettings, config.sampling, samplings.PATH)
    sampled = dataclasses.replace(sampled, stop=sampled.stop or encoder.stop)
    packing = settings.read(PackingSettings, config.packing, "config.packing")
    samplings.check(sampled, packing.seq_len)
    chosen = algorithm.read(config.algorithm)
    check_updates(config, chosen.updates)
    rollout = settings.read(
        RolloutSettings,
        {**config.rollout, "num_steps": config.train.steps // chosen.updates},
        schedule_settings.PATH,
    )
    schedule_settings.check(rollout)
    check_teachers(config, chosen, model.decoder)
    if chosen.dynamic_sampling and not rollout.dynamic_sampling:
        rollout = dataclasses.replace(rollout, dynamic_sampling=True)
    engine = settings.read(EngineConfig, config.engine, "config.engine")
    local = LocalSettings(engine.steps, engine.running)
    check_local(local, "config.engine")
    weights = settings.read(WeightSettings, config.weights, "config.weights")
    check_weights(weights)
    executor = settings.read(ExecutorSettings, config.executor, "config.executor")
    executor_settings.check(executor)
    if workdir and jax.process_count() > 1:
        check_transport(executor)
    attend = vlm_program.choose_attention(
        config.attention, packing.seq_len, model.decoder.head_dim, mesh
    )
    return Read(
        config=config,
        mesh=mesh,
        model=model,
        engine_model=vlm_program.make_model(config, tokenizer, one_device()),
        algorithm=chosen,
        rollout=rollout,
        sampling=sampled,
        packing=packing,
        engine_settings=EngineSettings(
            rows=engine.rows,
            max_length=sampled.max_length,
            buckets=engine.buckets,
            vision_length=packing.vision_row_length,
            num_draft=engine.num_draft,
            draft=engine.draft,
            prefixes=engine.prefixes,
        ),
        local=local,
        executor=executor,
        weights=weights,
        encoder=encoder,
        policy=Policy(model, attend, config.loss.vocab_block, sampled.temperature),
        workdir=workdir,
    )


def check_updates(config: Any, updates: int) -> None:
    """Raises ConfigError where a run would be saved in the middle of a batch."""
    for name in ("steps", "save_every"):
        value = getattr(config.train, name)
        if value % updates:
            raise ConfigError(
                f"config.train.{name} = {value} must be a multiple of config.algorithm.updates = "
                f"{updates}, the steps on each batch, in the middle of which nothing can be saved."
            )


def check_teachers(config: Any, chosen: AlgorithmSettings, decoder: DecoderConfig) -> None:
    """Raises ConfigError where teachers are not those that the loss needs."""
    teachers, weights = tuple(config.teachers), chosen.distill_weights
    if chosen.topk_distill_weight and (len(teachers) != 1 or len(weights) > 1):
        raise ConfigError(
            f"config.algorithm.topk_distill_weight = {chosen.topk_distill_weight} takes one "
            f"teacher, but config.teachers = {teachers} and config.algorithm.distill_weights = "
            f"{weights}: name one workdir, with at most one weight."
        )
    if chosen.topk_distill_weight and chosen.topk_distill > decoder.vocab_size:
        raise ConfigError(
            f"config.algorithm.topk_distill = {chosen.topk_distill} is more than the vocabulary "
            f"has: set it to at most {decoder.vocab_size}."
        )
    if not chosen.topk_distill_weight and len(teachers) != len(weights):
        raise ConfigError(
            f"config.teachers = {teachers} are {len(teachers)} workdirs, but "
            f"config.algorithm.distill_weights = {weights} are for {len(weights)}: give one weight "
            "for each teacher."
        )


def check_transport(executor: ExecutorSettings) -> None:
    """Raises ConfigError where engines could not read what several processes publish."""
    number = f"with --num_processes={jax.process_count()}"
    if executor.kind == "servers":
        raise ConfigError(
            f"config.executor.kind = 'servers' {number}: servers read whole weights, of which each "
            "process of the trainer has a part. Train with one process, or choose 'ray'."
        )
    if executor.kind != "inprocess" and executor.transport == "tcp":
        raise ConfigError(
            f"config.executor.transport = 'tcp' {number}: each process of the trainer has a part "
            "of the weights, and engines read from one address only. Set it to 'files', with "
            "config.executor.folder on a disk that all hosts see."
        )
