"""The TPU compiler that compiled figures are pinned to; `pip install -e '.[compiled]'`."""

from importlib import metadata

import pytest

VERSION = "0.0.42.1"


def installed():
    try:
        return metadata.version("libtpu")
    except metadata.PackageNotFoundError:
        return "none"


skip_without_libtpu = pytest.mark.skipif(
    installed() != VERSION, reason=f"figures are libtpu {VERSION}'s, installed: {installed()}"
)
