"""What a sample costs to compute in a vision-language model, for balancing."""

from cogvit_jax.models import vit
from mmtp.models.vlm import VLM
from mmtp.programs import vlm_flops
from rl.balance import Cost


def cost_of(vision: vit.VisionSettings, model: VLM) -> Cost:
    """Forward FLOPs by sizes: linear in tokens and patches, quadratic in a sample and a picture.

    The backward pass is a multiple of it, so that shares are the same.

    Args:
        vision: `config.vision`.
        model: of the program.
    """
    token, longer = (vlm_flops.decoder_flops(model, 1, length) for length in (0, 1))
    patch, wider = (vit.forward_flops(vision, 1, among) for among in (0.0, 1.0))
    projector = vlm_flops.projector_flops(model, 4) / 16  # of 4 tokens = 16 patches
    return Cost(
        token=token,
        pair=2 * (longer - token),  # counted per token of a row that is half seen on average
        patch=patch + projector,
        patch_pair=wider - patch,
    )
