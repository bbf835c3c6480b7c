"""What is compiled into an engine."""

from dataclasses import dataclass

from mmtp.models.vlm import VLM

DRAFTS = ("greedy", "sampled")


@dataclass(frozen=True)
class EngineSettings:
    """Sizes that are compiled in.

    Attributes:
        rows: requests in progress at a time.
        max_length: tokens of a prompt and its completion together.
        buckets: lengths that prompts are padded to; longer ones are padded to `max_length`.
        vision_length: patches of a vision row, a multiple of four; also of the largest picture.
        num_stops: stop tokens that a request may have.
        num_draft: tokens drafted per step by the MTP layers; 0 = plain decoding. Beyond the
            number of trained depths the last one's parameters are used again.
        draft: "greedy", or "sampled" with the request's temperature and filters.
        visual_input: what the MTP layers are fed at visual tokens, see `MTPSettings`; "" = as in
            training.
        top_logprobs: how many of the most probable tokens to report with every token.
        prefixes: prompts whose prefill is kept for requests that ask for the same one; also the
            most that are prefilled together.
    """

    rows: int = 8
    max_length: int = 2048
    buckets: tuple[int, ...] = (128, 512)
    vision_length: int = 4096
    num_stops: int = 8
    num_draft: int = 0
    draft: str = "greedy"
    visual_input: str = ""
    top_logprobs: int = 0
    prefixes: int = 4

    @property
    def slots(self) -> int:
        """Slots of a row: the last step may draft past the longest completion."""
        return self.max_length + self.num_draft + 1

    @property
    def pool(self) -> int:
        """Prompts of the pool: more than rows would be of no use."""
        return min(self.prefixes, self.rows)

    @property
    def window(self) -> int:
        """Newest slots that the MTP layers go over anew before drafting.

        Depth k's entry at slot i depends on token i + k. A step brings up to num_draft + 1 tokens,
        so its first stale entry is at most num_draft + k slots back, and k <= num_draft.
        """
        return 2 * self.num_draft


def check_settings(model: VLM, settings: EngineSettings) -> None:
    """Raises ValueError for settings that the model cannot serve."""
    if settings.num_draft and not model.mtp.depth:
        raise ValueError(
            f"num_draft = {settings.num_draft}: the model has no MTP layer to draft with; train "
            "with config.mmtp.depth >= 1, or set num_draft = 0."
        )
    if settings.draft not in DRAFTS:
        raise ValueError(f"draft = {settings.draft!r} must be one of {', '.join(DRAFTS)}.")
    if settings.vision_length % 4 or settings.vision_length < 4:
        raise ValueError(f"vision_length = {settings.vision_length} must be a multiple of 4.")
    if settings.prefixes < 1:
        raise ValueError(f"prefixes = {settings.prefixes} must be at least 1.")
    if settings.rows < 1 or settings.num_draft < 0 or settings.max_length < 2:
        raise ValueError(
            f"rows = {settings.rows} must be at least 1, num_draft = {settings.num_draft} at least "
            f"0 and max_length = {settings.max_length} at least 2."
        )
