"""One of two processes with two devices each: what their trainer is made of, piece by piece.

python -m tests.rl.pieces_run FOLDER ADDRESS PROCESS
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from cogvit_jax import sharding
from mmtp.data.layout import flatten
from rl import delivery, resident
from rl.balance import TOKENS
from rl.batching import write
from rl.lead import LeadFailed, make_lead
from rl.programs.rl_engines import to_engine
from rl.weights import WeightSettings
from rl.weights_load import Subscriber
from rl.weights_shared import SharedPublisher
from rl.weights_store import folder_store
from tests.rl.packed_samples import SETTINGS, random_samples, small_layout

VALUES = {
    "kernel": np.arange(24, dtype=np.float32).reshape(8, 3),
    "scale": np.arange(5, dtype=np.float32),
}
SPECS = {"kernel": ("fsdp",), "scale": ()}


def make_params(mesh):
    """`kernel` split over the devices of both processes."""
    placed = {
        name: jax.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
        for name, spec in SPECS.items()
    }
    return {name: sharding.place(VALUES[name], where) for name, where in placed.items()}


def check_lead(lead):
    """What process 0 says, all have; what it alone needs, it alone has."""
    assert lead.several
    assert lead.first == (jax.process_index() == 0)
    assert [lead.tell(lambda n=n: {"n": n})["n"] for n in range(20)] == list(range(20))
    kept = lead.do(lambda: VALUES)
    assert (kept is VALUES) == lead.first


def check_batches(mesh, lead):
    """Only process 0 has samples; each device gets its part of the batch."""
    layout = small_layout(sharding.num_batch_shards(mesh))
    way = delivery.between(mesh, layout, SETTINGS, TOKENS)
    samples = random_samples(2, 15)
    parcel = lead.do(lambda: way.pack(samples))
    outline = lead.tell(lambda: parcel.outline)
    arrays, figures = way.put(parcel.cargo if lead.first else None, outline)
    _, plan, _ = delivery.read_outline(outline, layout)
    whole = flatten(write(samples, plan))
    for name, value in flatten(arrays).items():
        for shard in value.addressable_shards:
            np.testing.assert_array_equal(shard.data, whole[name][shard.index], err_msg=name)
    assert figures["rl/dispatch/needed_megabytes"] > 0


def check_weights(params, lead, folder):
    """An engine of process 0, and one that reads the store, get all of what both have."""
    near = to_engine(None, params)
    publisher = SharedPublisher(folder_store(folder), WeightSettings(), lead)
    written = [publisher.publish(version, params) for version in range(3)]
    if lead.first:
        assert written[-1].result(60).version == 2
        loaded = Subscriber(folder_store(folder)).load(2)
        for name, expected in VALUES.items():
            np.testing.assert_array_equal(near[name], expected)
            np.testing.assert_array_equal(loaded.params[name], expected)
            assert near[name].is_fully_addressable
    lead.do(lambda: None)
    publisher.close()


def check_residents(params):
    """In host memory and back, several times, as they are placed."""
    kept = resident.keep(params)
    score = jax.jit(lambda params, x: x * jnp.sum(params["kernel"]))
    for number in range(3):
        kept.prefetch()
        assert float(kept.use(score, float(number))) == number * VALUES["kernel"].sum()


def main(folder, address, process):
    """Everything in turn; ends with what process 0 could not do."""
    jax.distributed.initialize(address, 2, int(process))
    mesh = sharding.make_mesh(sharding.MeshSettings(data=1, fsdp=4))
    lead, params = make_lead(), make_params(mesh)
    check_lead(lead)
    check_batches(mesh, lead)
    check_weights(params, lead, folder)
    check_residents(params)
    try:
        lead.do(lambda: [][1])
    except (IndexError, LeadFailed) as problem:
        print("at last", type(problem).__name__, problem, flush=True)
    jax.distributed.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
