"""Specs of sources, good and bad."""

import pytest

from cogvit_jax.data.sources import open_source


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("folde:/x", "unknown scheme 'folde'; did you mean 'folder:'"),
        ("gs:/x", "unknown scheme 'gs' Known: array_record, embedded"),
        ("folder:", "nothing after 'folder:'"),
        ("/", "write 'folder:/'"),
    ],
)
def test_specs_that_cannot_be_read(spec, message):
    with pytest.raises(ValueError, match=message):
        open_source(spec)


@pytest.mark.parametrize("scheme", ["folder", "webdataset", "array_record"])
def test_missing_paths(scheme, tmp_path):
    for name in ("none", "*.x"):
        with pytest.raises(FileNotFoundError, match=f"{scheme}.*{tmp_path}"):
            open_source(f"{scheme}:{tmp_path / name}")


def test_embedded_opens_through_the_same_door():
    assert open_source("embedded:digits/heldout").records[0].captions
