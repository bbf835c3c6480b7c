"""The circular schedule: every piece of work once, in order, and the bubble that is documented."""

import pytest

from cogvit_jax.settings import ConfigError
from mmtp.models.pipeline_schedule import PipelineSettings, Schedule, resolve

CASES = [(1, 1, 1), (2, 1, 1), (2, 1, 4), (2, 2, 2), (2, 2, 5), (4, 1, 2), (4, 2, 4), (4, 3, 9)]


def work(schedule):
    """(stage, iteration) -> (repeat, microbatch), where there is work."""
    found = {}
    for stage in range(schedule.stages):
        for iteration in range(schedule.iterations):
            repeat, microbatch, busy = schedule.work(stage, iteration)
            if busy:
                found[stage, iteration] = repeat, microbatch
    return found


@pytest.mark.parametrize(("stages", "repeats", "microbatches"), CASES)
def test_every_piece_once_and_the_bubble(stages, repeats, microbatches):
    schedule = Schedule(stages, repeats, microbatches)
    found = work(schedule)
    pieces = [(stage, *piece) for (stage, _), piece in found.items()]
    assert len(set(pieces)) == len(pieces) == stages * repeats * microbatches
    slots = stages * schedule.iterations
    assert schedule.bubble == pytest.approx(1 - len(pieces) / slots)
    assert schedule.bubble == pytest.approx((stages - 1) / (repeats * microbatches + stages - 1))


@pytest.mark.parametrize(("stages", "repeats", "microbatches"), CASES)
def test_a_piece_follows_the_one_before_it(stages, repeats, microbatches):
    schedule = Schedule(stages, repeats, microbatches)
    when = {(stage, *piece): i for (stage, i), piece in work(schedule).items()}
    for (stage, repeat, microbatch), iteration in when.items():
        if stage:
            before, wait = (stage - 1, repeat, microbatch), 0
        elif repeat:
            before, wait = (stages - 1, repeat - 1, microbatch), schedule.wait
        else:
            continue
        assert iteration == when[before] + 1 + wait


@pytest.mark.parametrize(
    ("settings", "stages", "layers", "message"),
    [
        (PipelineSettings(4, 2), 2, 6, r"repeats = 2 does not divide the decoder's 6 layers"),
        (PipelineSettings(2, 2), 4, 8, r"microbatches = 2 with repeats = 2 must be at least"),
        (PipelineSettings(0, 1), 2, 8, r"config.pipeline.microbatches = 0"),
    ],
)
def test_what_cannot_be_scheduled(settings, stages, layers, message):
    with pytest.raises(ConfigError, match=message):
        resolve(settings, stages, layers)
