"""Training batches of documents, packed on the host and placed on the mesh.

The place in the data is one number, as everywhere (`cogvit_jax.data.pipeline`): a batch is a pure
function of (seed, batch number).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cogvit_jax import sharding
from cogvit_jax.data.examples import Draw
from cogvit_jax.data.pipeline import TrainBatches
from mmtp.data import layout as layouts
from mmtp.data.chat import ChatSettings
from mmtp.data.documents import encode
from mmtp.data.encoded import Encoded
from mmtp.data.images import ImageSettings
from mmtp.data.layout import DataSettings, Layout
from mmtp.data.packing import Collate, check_fits
from mmtp.data.records import Document
from mmtp.data.reorder import sequence_dim
from mmtp.data.sources import open_source
from mmtp.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class DocumentExample:
    """A drawn record as {"document": Encoded}; picklable.

    Raises CorruptRecord where the document cannot be encoded or fits no row.
    """

    tokenizer: Tokenizer
    images: ImageSettings
    layout: Layout
    supervise: str
    chat: ChatSettings

    def __call__(self, draw: Draw) -> dict[str, Any]:
        record: Any = draw.record  # a Document
        return {"document": self.encode(record)}

    def encode(self, document: Document) -> Encoded:
        """A document as it is trained on."""
        encoded = encode(
            document,
            self.tokenizer,
            self.images,
            self.supervise,
            self.chat,
            max_tokens=self.layout.seq_len,
        )
        check_fits(encoded, self.layout)
        return encoded


def document_batches(
    config: DataSettings,
    example: DocumentExample,
    mesh: Mesh,
    seed: int,
    state: dict[str, Any] | None,
) -> TrainBatches:
    """Batches of `layout.ARRAYS`.

    Raises:
        ConfigError: a field is wrong, or `state` belongs to other data.
    """
    return TrainBatches(
        config,
        mesh,
        seed,
        state,
        make=example,
        collate=Collate(example.layout),
        host_batch=example.layout.host_batch,
        host_offset=example.layout.host_offset,
        opener=open_source,
        place=put_batch,
    )


def put_batch(mesh: Mesh, batch: dict[str, Any]) -> dict[str, Any]:
    """This host's arrays as global ones: groups over the batch axes, rows over `context`."""
    placed = {
        name: jax.make_array_from_process_local_data(array_sharding(mesh, name), value)
        for name, value in layouts.flatten(batch).items()
    }
    return layouts.nest(placed)


def array_sharding(mesh: Mesh, name: str) -> NamedSharding:
    """Where an array of the batch lives."""
    spec: list[Any] = [sharding.BATCH_AXES]
    if mesh.shape["context"] > 1:
        spec += [None] * (sequence_dim(name) - 1) + ["context"]
    return NamedSharding(mesh, PartitionSpec(*spec))


def batch_shapes(layout: Layout, mesh: Mesh) -> tuple[dict[str, Any], ...]:
    """The one shape of every batch, with shardings; opens no data and needs no devices."""
    make = partial(_struct, mesh)
    flat = layouts.flatten(layouts.batch_shapes(layout))
    return (layouts.nest({name: make(name, *value) for name, value in flat.items()}),)


def _struct(mesh: Mesh, name: str, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=array_sharding(mesh, name))
