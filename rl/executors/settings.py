"""`config.executor`: where rollout engines and rewards work."""

from dataclasses import dataclass

from cogvit_jax.settings import ConfigError, unknown

KINDS = ("inprocess", "processes", "ray", "servers")
TRANSPORTS = ("files", "tcp")


@dataclass(frozen=True)
class ExecutorSettings:
    """`config.executor`.

    Attributes:
        kind: "inprocess": in the trainer's process; "processes": in others of this machine; "ray":
            in those of a Ray cluster (`pip install 'ray>=2.50'`); "servers": vLLM or SGLang, which
            run already and read weights from `folder`.
        engines: rollout engines; with kind "inprocess" they take turns at the first device, with
            "servers" there are as many as those.
        rewards: processes that judge; 0 = the trainer's, in threads.
        address: of a Ray cluster, such as "auto"; "" = one is started on this machine, and ended
            with the run.
        transport: how weights reach other processes: "files" of a folder that all of them see, or
            "tcp" from the trainer's memory.
        folder: of transport "files"; "" = rollouts/weights of the workdir. On one machine a folder
            of memory, such as /dev/shm/weights, spares the disk.
        servers: URLs, with kind "servers".
        dialect, model, logprobs: of the servers, see `rl.rollout.server.ServerSettings`.
        env: (name, value) of environment variables that engines start with; "{number}" in a value
            is the engine's, such as ("CUDA_VISIBLE_DEVICES", "{number}").
        cpus, gpus: what Ray sets aside for an engine.
        hang_seconds: a process that says nothing for so long is killed; compiling is no silence.
        stall_seconds: an engine with work that draws nothing for so long is killed, too; it must be
            longer than compiling takes; 0 = never.
        restarts: deaths in a row, of each engine on average, without a reply in between, before
            the run gives up.
        backoff_seconds: before the second restart in a row; it doubles with each, up to a minute.
    """

    kind: str = "inprocess"
    engines: int = 1
    rewards: int = 0
    address: str = ""
    transport: str = "files"
    folder: str = ""
    servers: tuple[str, ...] = ()
    dialect: str = "sglang"
    model: str = ""
    logprobs: str = ""
    env: tuple[tuple[str, str], ...] = ()
    cpus: float = 1.0
    gpus: float = 0.0
    hang_seconds: float = 120.0
    stall_seconds: float = 1800.0
    restarts: int = 3
    backoff_seconds: float = 1.0


def check(settings: ExecutorSettings, path: str = "config.executor") -> None:
    """Raises ConfigError for settings without sense."""
    for name, choices in (("kind", KINDS), ("transport", TRANSPORTS)):
        value = getattr(settings, name)
        if value not in choices:
            raise ConfigError(unknown(f"{path}.{name} = {value!r}", value, choices))
    least = {"engines": 1, "rewards": 0, "cpus": 0, "gpus": 0, "stall_seconds": 0, "restarts": 0}
    for name, value in (least | {"backoff_seconds": 0}).items():
        if getattr(settings, name) < value:
            raise ConfigError(f"{path}.{name} = {getattr(settings, name)} must be {value} or more.")
    if settings.hang_seconds <= 0:
        raise ConfigError(f"{path}.hang_seconds = {settings.hang_seconds} must be above 0.")
    if settings.kind in ("inprocess", "servers") and settings.rewards:
        raise ConfigError(
            f"{path}.rewards = {settings.rewards}: with kind {settings.kind!r} there are no "
            "processes for them; set it to 0, or kind to 'processes' or 'ray'."
        )
    if bool(settings.servers) != (settings.kind == "servers"):
        raise ConfigError(
            f"{path}.servers = {settings.servers} with kind {settings.kind!r}: give the URLs of "
            "servers with kind 'servers', and none with another."
        )


def environment(settings: ExecutorSettings, number: int) -> dict[str, str]:
    """Variables of the actor with this number."""
    return {name: value.replace("{number}", str(number)) for name, value in settings.env}
