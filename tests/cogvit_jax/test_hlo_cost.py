"""FLOPs, loops and collectives are counted from compiled programs whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from cogvit_jax import collectives, hlo, hlo_cost, sharding
from cogvit_jax.sharding import MeshSettings


def compiled(fn, *shapes, dtype=jnp.float32, sharding=None):
    args = [jax.ShapeDtypeStruct(s, dtype, sharding=sharding) for s in shapes]
    return jax.jit(fn).lower(*args).compile()


def scanned(x, weights):
    return jax.lax.scan(lambda c, w: (jnp.tanh(c @ w), None), x, weights)[0]


def attention(q, k, v):
    weights = jax.nn.softmax(jnp.einsum("bthk,bshk->bhts", q, k))
    return jnp.einsum("bhts,bshk->bthk", weights, v)


# function, shapes, multiply-adds by hand
CASES = {
    "loop of 12 layers": (scanned, ((32, 48), (12, 48, 48)), 12 * 32 * 48 * 48),
    "attention": (attention, ((2, 16, 4, 8),) * 3, 2 * 2 * 4 * 16 * 16 * 8),
    "fused qkv": (
        lambda x, w: jnp.einsum("btd,dchk->btchk", x, w),
        ((2, 16, 24), (24, 3, 4, 8)),
        2 * 16 * 24 * 3 * 4 * 8,
    ),
    "loop in a loop": (
        lambda x, w: jax.lax.fori_loop(0, 5, lambda _, x: scanned(x, w), x),
        ((8, 16), (3, 16, 16)),
        5 * 3 * 8 * 16 * 16,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_flops_are_those_counted_by_hand(name):
    fn, shapes, multiply_adds = CASES[name]
    text = compiled(fn, *shapes).as_text()
    cost = hlo_cost.analyse(text)
    assert cost.matmul_flops == 2 * multiply_adds
    assert cost.unknown_loops == 0


def test_the_compilers_own_count_takes_a_loop_for_one_pass():
    program = compiled(*CASES["loop of 12 layers"][:1], *CASES["loop of 12 layers"][1])
    once = program.cost_analysis()["flops"]
    assert 10 < hlo_cost.analyse(program.as_text()).matmul_flops / once < 12


def test_a_convolution_does_not_count_what_meets_padding():
    def convolve(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    cost = hlo_cost.analyse(compiled(convolve, (2, 8, 8, 3), (3, 3, 3, 5)).as_text())
    # 4 places x 3 taps per side, of which the last place lacks its last tap.
    assert cost.matmul_flops == 2 * 2 * 3 * 5 * 11 * 11


def test_a_matrix_product_written_as_a_convolution_with_batch_dims():
    # As the TPU compiler writes bhtk,bhsk->bhts: only equal batch numbers meet.
    text = """HloModule m, is_scheduled=true

ENTRY %main (a: f32[4,8,16,32], b: f32[4,8,24,32]) -> f32[4,8,16,24] {
  %a = f32[4,8,16,32]{3,2,1,0} parameter(0)
  %b = f32[4,8,24,32]{3,2,1,0} parameter(1)
  ROOT %c = f32[4,8,16,24]{3,2,1,0} convolution(%a, %b), window={size=4x8 stride=3x7 pad=0_0x0_0 lhs_dilate=4x8}, dim_labels=01bf_01oi->01bf
}
"""  # noqa: E501
    assert hlo_cost.analyse(text).matmul_flops == 2 * 4 * 8 * 16 * 24 * 32


def test_a_sliced_operand_costs_its_slice():
    cost = hlo_cost.analyse(compiled(lambda x: x[3:5] * 2, (1000, 256)).as_text())
    assert cost.hbm_bytes <= 4 * 2 * 256 * 4


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh(MeshSettings(data=2, fsdp=4))


@pytest.mark.parametrize(
    ("axes", "kind", "wire"),
    [
        (("data",), "all-reduce", 2 * 1 / 2),
        (("fsdp",), "all-reduce", 2 * 3 / 4),
        (("data", "fsdp"), "all-reduce", 2 * 7 / 8),
        (("fsdp",), "all-gather", 3),
        (("fsdp",), "all-to-all", 3 / 4),
        (("fsdp",), "collective-permute", 1),
    ],
)
def test_collectives_have_their_axes_and_bytes(mesh, axes, kind, wire):
    def move(x):
        if kind == "all-reduce":
            return jax.lax.psum(x, axes)
        if kind == "all-gather":
            return jax.lax.all_gather(x, axes)
        if kind == "all-to-all":
            return jax.lax.all_to_all(x, axes[0], 0, 0, tiled=True)
        return jax.lax.ppermute(x, axes[0], [(i, (i + 1) % 4) for i in range(4)])

    share = PartitionSpec(("data", "fsdp"))
    fn = jax.shard_map(move, mesh=mesh, in_specs=share, out_specs=share, check_vma=False)
    text = compiled(fn, (64, 16), sharding=NamedSharding(mesh, share)).as_text()
    (row,) = collectives.summarize(hlo_cost.analyse(text).collectives, mesh)
    assert (row["kind"], row["axes"], row["count"]) == (kind, "+".join(axes), 1)
    assert row["bytes"] == 8 * 16 * 4 * wire


def test_collectives_in_a_loop_count_as_often_as_it_runs(mesh):
    def loop(x):
        return jax.lax.fori_loop(0, 7, lambda _, x: jax.lax.psum(x, "data") / 2, x)

    share = PartitionSpec(("data", "fsdp"))
    fn = jax.shard_map(loop, mesh=mesh, in_specs=share, out_specs=share, check_vma=False)
    text = compiled(fn, (64, 16), sharding=NamedSharding(mesh, share)).as_text()
    (row,) = collectives.summarize(hlo_cost.analyse(text).collectives, mesh)
    assert row["count"] == 7


GROUPS = {
    "replica_groups={{0,4},{1,5},{2,6},{3,7}}": ((0, 4), (1, 5), (2, 6), (3, 7)),
    "replica_groups=[2,4]<=[8]": ((0, 1, 2, 3), (4, 5, 6, 7)),
    "replica_groups=[4,2]<=[2,4]T(1,0)": ((0, 4), (1, 5), (2, 6), (3, 7)),
    "replica_groups=mesh['a'=2,'b'=4] {'b'}": ((0, 1, 2, 3), (4, 5, 6, 7)),
    "replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}": (
        (0, 4),
        (1, 5),
        (2, 6),
        (3, 7),
    ),
    "source_target_pairs={{0,1},{1,0}}": ((0, 1), (1, 0)),
}


@pytest.mark.parametrize("text", GROUPS)
def test_replica_groups_are_read_in_every_form(text):
    module = hlo.parse(
        "HloModule m\n\nENTRY %main (a: f32[8]) -> f32[8] {\n"
        "  %a = f32[8]{0} parameter(0)\n"
        f"  ROOT %r = f32[8]{{0}} all-reduce(%a), channel_id=1, {text}, to_apply=%add\n}}\n"
    )
    assert collectives.replica_groups(module.computations["main"][1]) == GROUPS[text]


# The three forms in which the TPU compiler runs a collective beside other work, shortened.
SCHEDULE = """HloModule m, is_scheduled=true

FileNames
1 "/src/model.py"

FunctionNames
1 "f"

FileLocations
1 {file_name_id=1 function_name_id=1 line=7 end_line=7 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}

%start (p: bf16[4,8]) -> (bf16[4,8], bf16[16,8]) {
  %p = bf16[4,8]{1,0} parameter(0)
  %g = bf16[16,8]{1,0} all-gather(%p), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %c = (bf16[4,8]{1,0}, bf16[16,8]{1,0}) custom-call(%g), custom_call_target="AsyncCollectiveStart"
}

%middle (q: bf16[4,8], x: bf16[32,16], w: bf16[16,64]) -> bf16[32,64] {
  %q = bf16[4,8]{1,0} parameter(0)
  %x = bf16[32,16]{1,0} parameter(1)
  %w = bf16[16,64]{1,0} parameter(2)
  %g.1 = bf16[16,8]{1,0} all-gather(%q), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %d = bf16[32,64]{1,0} convolution(%x, %w), dim_labels=bf_io->bf
}

%end (r: bf16[4,8]) -> bf16[16,8] {
  %r = bf16[4,8]{1,0} parameter(0)
  %g.2 = bf16[16,8]{1,0} all-gather(%r), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %e = bf16[16,8]{1,0} custom-call(%g.2), custom_call_target="AsyncCollectiveDone"
}

%all-reduce-scatter.1 (s: f32[16,8]) -> f32[4,8] {
  %s = f32[16,8]{1,0} parameter(0)
  %a = f32[16,8]{1,0} all-reduce(%s), channel_id=2, replica_groups=[2,4]<=[8], to_apply=%add
  ROOT %t = f32[4,8]{1,0} slice(%a), slice={[0:4], [0:8]}
}

ENTRY %main (p: bf16[4,8], x: bf16[32,16], w: bf16[16,64], s: f32[16,8]) -> bf16[32,64] {
  %p = bf16[4,8]{1,0} parameter(0)
  %x = bf16[32,16]{1,0} parameter(1)
  %w = bf16[16,64]{1,0} parameter(2)
  %s = f32[16,8]{1,0} parameter(3)
  %async-collective-start = (bf16[4,8]{1,0}, bf16[16,8]{1,0}) fusion(%p), kind=kCustom, calls=%start
  %permute-start = (f32[16,8]{1,0}, f32[16,8]{1,0}, u32[], u32[]) collective-permute-start(%s), channel_id=3, source_target_pairs={{0,1},{1,0}}
  %copy = f32[16,8]{1,0} copy(%s), backend_config={"estimated_cycles":"30"}
  %fusion.1 = bf16[32,64]{1,0} fusion(%p, %x, %w), kind=kOutput, calls=%middle, metadata={op_name="jit(step)/transpose(jvp(Model))/vision/while/body/blocks/mlp/up/dot_general" stack_frame_id=1}, backend_config={"estimated_cycles":"1000"}
  %async-collective-done = bf16[16,8]{1,0} fusion(%p), kind=kCustom, calls=%end
  %permute-done = f32[16,8]{1,0} collective-permute-done(%permute-start)
  %scatter = f32[4,8]{1,0} fusion(%s), kind=kCustom, calls=%all-reduce-scatter.1
  ROOT %last = bf16[32,64]{1,0} add(%fusion.1, %fusion.1), backend_config={"estimated_cycles":"5"}
}
"""  # noqa: E501


def test_asynchronous_collectives_count_once_with_the_work_in_their_window():
    cost = hlo_cost.analyse(SCHEDULE)
    assert cost.cycles == 1035
    assert cost.matmul_cycles == 1000
    assert cost.matmul_flops == 2 * 32 * 16 * 64
    found = {c.kind: c for c in cost.collectives}
    assert len(cost.collectives) == 3
    gather, permute, scatter = (
        found[k] for k in ("all-gather", "collective-permute", "reduce-scatter")
    )
    assert (gather.asynchronous, gather.window_cycles, gather.matmul_window_cycles) == (
        True,
        1030,
        1000,
    )
    assert (permute.asynchronous, permute.window_cycles) == (True, 1030)
    assert not scatter.asynchronous
    assert gather.wire_bytes == 3 * 4 * 8 * 2
    assert scatter.wire_bytes == 16 * 8 * 4 * 3 / 4


def test_an_instruction_knows_its_source_line():
    module = hlo.parse(SCHEDULE)
    fusion = next(i for i in module.computations["main"] if i.name == "fusion.1")
    assert module.source(fusion) == ("/src/model.py:7",)


def test_text_that_is_cut_off_is_an_error():
    with pytest.raises(ValueError, match="inside a bracket"):
        hlo.parse("ENTRY %main (a: f32[8]) -> f32[8] {\n  ROOT %a = f32[8]{0} parameter(0\n")


class FakeChip:
    """A device with a place on the torus."""

    def __init__(self, x, y):
        self.coords, self.slice_index = (x, y, 0), 0


class FakeMesh:
    axis_names = ("data", "fsdp")
    devices = np.array([[FakeChip(x, y) for x in range(16)] for y in range(16)], dtype=object)


def test_times_of_collectives_on_a_torus():
    from cogvit_jax.topology import CHIPS

    chip, size = CHIPS["TPU v5 lite"], 10**9
    row = (tuple(range(16)),)
    everyone = (tuple(range(256)),)

    def seconds(kind, groups):
        made = collectives.Collective(kind, size, groups, False, 0, 0, "")
        return made.seconds(FakeMesh, chip)

    # One axis has two links of 45 GB/s, both axes four.
    assert seconds("all-reduce", row) == pytest.approx(2 * size * 15 / 16 / 90e9, rel=1e-2)
    assert seconds("all-reduce", everyone) == pytest.approx(2 * size * 255 / 256 / 180e9, rel=1e-2)
    assert seconds("all-gather", row) == pytest.approx(size * 15 / 90e9, rel=1e-2)
    # An all-to-all takes a quarter of the time that gathering the whole array does.
    assert seconds("all-to-all", row) == pytest.approx(size * 16 / 4 / 90e9, rel=2e-2)
    neighbours = tuple((i, (i + 1) % 16) for i in range(16))
    assert seconds("collective-permute", neighbours) == pytest.approx(size / 45e9, rel=1e-2)
    far = tuple((i, (i + 128) % 256) for i in range(256))
    assert seconds("collective-permute", far) == pytest.approx(8 * size / 45e9, rel=1e-2)
    assert seconds("all-reduce", ((3,),)) == 0


# What the compiler makes of a sum over two slices, shortened.
SLICES = """HloModule m, is_scheduled=true

ENTRY %main (p: f32[32,1024]) -> f32[32,1024] {
  %p = f32[32,1024]{1,0} parameter(0)
  %t = token[] after-all()
  %send = (f32[32,1024]{1,0}, u32[], token[]) send(%p, %t), channel_id=2, is_host_transfer=true, frontend_attributes={_xla_host_transfer_rendezvous="all-reduce_0",_xla_megascale_transfer_type="ALL_REDUCE"}
  %recv = (f32[32,1024]{1,0}, u32[], token[]) recv(%t), channel_id=1, is_host_transfer=true, frontend_attributes={_xla_host_transfer_rendezvous="all-reduce_0",_xla_megascale_transfer_type="ALL_REDUCE"}
  %send-done = token[] send-done(%send), channel_id=2
  %copy = f32[32,1024]{1,0} copy(%p), backend_config={"estimated_cycles":"70"}
  %recv-done = (f32[32,1024]{1,0}, token[]) recv-done(%recv), channel_id=1
  ROOT %r = f32[32,1024]{1,0} get-tuple-element(%recv-done), index=0
}
"""  # noqa: E501


def test_what_crosses_between_slices_counts_as_a_collective_over_dcn():
    from cogvit_jax.topology import CHIPS

    (transfer,) = hlo_cost.analyse(SLICES).collectives
    assert (transfer.kind, transfer.over_dcn, transfer.asynchronous) == ("all-reduce", True, True)
    assert transfer.window_cycles == 70
    assert transfer.axes(FakeMesh) == "dcn"
    chip = CHIPS["TPU v5 lite"]
    assert transfer.seconds(FakeMesh, chip) == 32 * 1024 * 4 / chip.dcn_bandwidth
