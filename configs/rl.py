"""Reinforcement learning over all categories of the gym at once, asynchronously.

    python -m rl.main --config=configs/rl.py --workdir=runs/rl \
        --config.train.init_from=runs/vlm_sft --config.data.tokenizer=/data/glm/tokenizer.json

Hardware: a TPU pod slice for the trainer (v5e-256), rollouts beside it. Nobody has yet run it.

    python -m rl.main --config=configs/rl.py:tiny --workdir=runs/rl_tiny \
        --config.train.init_from=runs/vlm_gym

Hardware: 2 CPU cores, about 14 minutes: six categories, from the model of vlm_sft.py:tiny that was
also shown some of the gym's answers (README.md has the commands). `:smoke` takes two steps of the
same code for the tests, from a model that knows nothing.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import vlm_pretrain, vlm_sft
from configs.common import check_variant
from configs.rl_rewards import rewards

TINY_CATEGORIES = (
    "action_count",
    "counterfactual",
    "handwriting",
    "lights_out",
    "maze_path",
    "temporal_grounding",
)


def get_config(arg: str | None = None) -> ConfigDict:
    variant = check_variant(arg, ("tiny", "smoke"))
    config = full()
    if variant:
        tiny(config)
    if variant == "smoke":
        smoke(config)
    return config.lock()


def full() -> ConfigDict:
    """The pod run; where the report gives no number, ours are proposals."""
    config = vlm_sft.full()
    config.program = "rl"
    for name in ("pipeline", "data", "evals"):
        del config[name]
    config.data = ConfigDict({"tokenizer": ""})  # "" = the embedded one

    config.algorithm = algorithm()
    # Clip-higher, token mean, no KL; GLM-4.1V (arXiv:2507.01006) found the same to be best.
    config.algorithm.preset = "dapo"
    config.algorithm.dynamic_sampling = True
    config.algorithm.proximal = "loglinear"  # AReaL, arXiv:2505.24298: decoupled from the engine's
    config.algorithm.correction = "tis"
    config.algorithm.correction_high = 2.0
    config.algorithm.max_tokens = 8192
    config.algorithm.overlong_tokens = 8192
    config.algorithm.overlong_buffer = 2048
    config.teachers = ()  # workdirs, one for each of config.algorithm.distill_weights

    config.tasks = ConfigDict({"categories": ("*",)})
    config.curriculum = ConfigDict()
    config.curriculum.difficulties = (0, 1, 2, 3, 4)
    config.curriculum.chinese = 0.5
    config.curriculum.level_mode = "fixed"
    config.curriculum.window = 1024
    config.curriculum.offline = ""  # JSON file {"category/difficulty": pass rate}
    config.curriculum.prior = 0.5  # pass rate of cells without one
    config.curriculum.decay = 0.9
    config.curriculum.floor = 0.05  # least weight of a cell
    config.curriculum.useless_decay = 0.99
    config.curriculum.max_oversampling = 4.0
    config.curriculum.levels = ()  # (("step", 0.1, 1.0),): weight at the start, at the end
    config.curriculum.level_tasks = 100_000  # from start to end
    config.curriculum.mastery = (0.3, 0.6)  # pass rates of the level before
    config.curriculum.quotas = ()  # (("chart_*", 0.0, 0.2),): shares of categories

    config.rollout = ConfigDict()
    config.rollout.group_size = 16
    config.rollout.batch_groups = 256
    config.rollout.max_staleness = 2
    config.rollout.concurrency = 4096
    config.rollout.abort_count = 512
    config.rollout.abort_seconds = 600.0
    config.rollout.partial = "continue"
    config.rollout.batches_ahead = 1
    config.rollout.colocated = False  # True: rollouts and training take turns
    config.rollout.oversampling = 4.0  # groups completed per group trained, at most
    config.rollout.reuse = 0  # times that a group may be trained on again
    config.rollout.min_valid = 2
    config.rollout.max_judgings = 3
    config.rollout.max_attempts = 4
    config.rollout.max_unanswered = 64  # groups in a row without an answer: the run ends

    config.sampling = ConfigDict()
    config.sampling.max_new_tokens = 8192
    config.sampling.max_length = 16384
    config.sampling.temperature = 1.0
    config.sampling.top_k = 0
    config.sampling.top_p = 1.0
    config.sampling.stop = ()  # () = the chat template's

    config.engine = ConfigDict()
    config.engine.rows = 256
    config.engine.prefixes = 16
    config.engine.buckets = (512, 1024, 2048, 4096)
    config.engine.num_draft = 1
    config.engine.draft = "sampled"
    config.engine.steps = 16
    config.engine.running = "continue"

    config.executor = ConfigDict()
    config.executor.kind = "inprocess"  # "processes", "ray": a cluster's; "servers"
    config.executor.engines = 1
    config.executor.rewards = 0  # processes that judge; 0 = threads of the trainer's
    config.executor.address = ""  # of the Ray cluster, such as "auto"; "" = of this machine
    config.executor.transport = "files"  # of weights to other processes: or "tcp"
    config.executor.folder = ""  # of "files"; "" = rollouts/weights of the workdir
    config.executor.servers = ()  # of vLLM or SGLang: ("http://host:30000",)
    config.executor.dialect = "sglang"  # or "vllm", which takes text alone
    config.executor.model = ""  # its name at the servers
    config.executor.logprobs = ""  # which they tell; "" = their default
    config.executor.env = ()  # of engines: (("CUDA_VISIBLE_DEVICES", "{number}"),)
    config.executor.cpus = 1.0  # that Ray sets aside for an engine
    config.executor.gpus = 0.0
    config.executor.hang_seconds = 120.0
    config.executor.stall_seconds = 1800.0
    config.executor.restarts = 3  # deaths in a row without a reply; the run then gives up
    config.executor.backoff_seconds = 1.0

    config.weights = ConfigDict()  # as they travel to other processes
    config.weights.dtype = ""  # "" = their own
    config.weights.chunk_bytes = 16 << 20  # per checksum
    config.weights.keep = 2  # versions
    config.weights.window_bytes = 1 << 30

    config.packing = ConfigDict()
    config.packing.seq_len = 16384
    config.packing.rows = 1
    config.packing.vision_row_length = 2048
    config.packing.vision_rows = 8
    config.packing.microbatches = 0
    config.packing.ladder = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)

    config.rewards = rewards()

    config.fidelity = ConfigDict()
    config.fidelity.every = 10
    config.fidelity.exempt = ("text_coding",)  # which has no pictures
    config.fidelity.dependent = 0.5  # nats by which a picture moves a token
    config.fidelity.max_gap = 0.15  # nats between engine and trainer on such tokens,
    config.fidelity.max_ratio = 4.0  # and as often those on others
    config.fidelity.max_blind = 0.5
    config.fidelity.min_tokens = 32
    config.fidelity.patience = 3

    config.evals = ConfigDict()
    config.evals.tasks = 64
    config.evals.temperature = 1.0
    config.evals.blank = True
    config.evals.shown = 24  # replies in a picture
    config.evals.categories = ()  # () = those that are trained on

    for name in ("vision", "projector", "language"):
        config.optim.groups[name].lr = 2e-6
        config.optim.groups[name].warmup_steps = 10
        config.optim.groups[name].weight_decay = 0.0
    config.train.steps = 2000
    config.train.log_every = 1
    config.train.eval_every = 50
    config.train.eval_start = True
    config.train.save_every = 25
    config.train.keep_every = 500
    return config


def algorithm() -> ConfigDict:
    """`config.algorithm`; what stays None is the preset's, or the default of its field."""
    config = ConfigDict({"preset": "grpo"})
    for kind, names in {
        bool: "dynamic_sampling kl_ratio",
        int: "overlong_tokens overlong_buffer topk_distill updates max_tokens",
        str: "advantage objective proximal correction rejection kl_in kl_estimator aggregation",
        float: (
            "gamma clip_low clip_high dual_clip correction_low correction_high rejection_low "
            "rejection_high kl_weight topk_distill_weight entropy_weight"
        ),
        tuple: "distill_weights",
    }.items():
        for name in names.split():
            config[name] = placeholder(kind)
    return config


def tiny(config: ConfigDict) -> None:
    """A laptop run that really learns: six categories, one picture and a short answer each."""
    small = vlm_pretrain.full()
    vlm_pretrain.tiny(small)
    for name in ("mesh", "vision", "vision_memory", "decoder", "images", "mmtp"):
        config[name] = small[name]
    config.loss.vocab_block = small.loss.vocab_block
    config.optim.muon_dtype = "float32"
    config.mmtp.weight_steps = 0
    for name in ("vision", "projector", "language"):
        config.optim.groups[name].lr = 2e-3
        config.optim.groups[name].warmup_steps = 5
    config.algorithm.preset = "dapo"
    config.algorithm.max_tokens = 24
    config.algorithm.overlong_buffer = 0
    config.tasks.categories = TINY_CATEGORIES
    config.curriculum.difficulties = (0,)
    config.curriculum.chinese = 0.0
    config.curriculum.window = 48
    config.rewards.sources = (("*", "answer"),)  # right is right, in a box or not
    config.rollout.group_size = 8
    config.rollout.batch_groups = 18
    config.rollout.max_staleness = 1
    config.rollout.concurrency = 144
    config.rollout.abort_count = 0
    config.rollout.abort_seconds = 0.0
    config.rollout.batches_ahead = 0
    config.sampling.max_new_tokens = 24
    config.sampling.max_length = 184
    config.engine.rows = 96
    config.engine.prefixes = 12
    config.engine.buckets = (64, 96, 160)
    config.engine.num_draft = 0
    config.packing.seq_len = 256
    config.packing.rows = 8
    config.packing.vision_row_length = 96
    config.packing.vision_rows = 16
    config.packing.ladder = (1, 10, 12, 14)
    config.train.steps = 80
    config.train.log_every = 1
    config.train.eval_every = 40
    config.train.save_every = 20
    config.train.keep_every = 0
    config.train.nonfinite = "stop"
    config.train.max_skips = 0
    config.evals.tasks = 128


def smoke(config: ConfigDict) -> None:
    """Two steps of `tiny` on a model as small as can be, from scratch."""
    config.vision.width, config.vision.depth = 16, 2
    config.vision.num_heads, config.vision.mlp_dim = 2, 32
    config.vision.scan_unroll = 1
    config.decoder.width, config.decoder.depth, config.decoder.head_dim = 32, 2, 16
    config.decoder.num_heads, config.decoder.num_kv_heads, config.decoder.mlp_dim = 2, 1, 64
    config.decoder.rotary_dim, config.decoder.mrope_sections = 16, (2, 3, 3)
    config.decoder.scan_unroll = 1
    config.algorithm.dynamic_sampling = False
    config.rollout.group_size = 2
    config.rollout.batch_groups = 3
    config.rollout.concurrency = 8
    config.engine.rows = 8
    config.engine.prefixes = 4
    config.sampling.max_new_tokens = 4
    config.packing.rows = 4
    config.packing.vision_rows = 8
    for name in ("vision", "projector", "language"):
        config.optim.groups[name].warmup_steps = 1
    config.train.steps = 2
    config.train.eval_every = 2
    config.train.save_every = 1
    config.evals.tasks = 1
    config.fidelity.every = 1
