"""Eight CPU devices in every test process; warnings and implicit broadcasts are errors."""

import os
from pathlib import Path

from tests.xla_flags import quick

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    (os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8", quick())
)

import hypothesis
import jax
import pytest
from absl import flags
from jax.sharding import Mesh

from cogvit_jax import host_threads, sharding
from tests.scheduling import FilesAndTests

host_threads.room_for_collectives()
jax.config.update("jax_numpy_rank_promotion", "raise")
# Grain's worker processes read absl flags, which no absl main has parsed here.
flags.FLAGS.mark_as_parsed()
# A machine that stalls is no fault of the code: no example has a deadline, and drawing takes the
# time it takes. Nor may the suite's outcome depend on a draw, so each test has the same examples
# every time; `pytest --hypothesis-profile=anew`, which is loaded after this, draws others.
UNHURRIED = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
UNHURRIED.register_profile("anew", UNHURRIED, derandomize=False)
UNHURRIED.register_profile("suite", UNHURRIED, derandomize=True)
UNHURRIED.load_profile("suite")


def pytest_xdist_make_scheduler(config, log):
    """How tests are dealt out to workers; a hook of pytest-xdist."""
    return FilesAndTests(config, log)


def pytest_collection_modifyitems(items):
    """Whole commands and notebooks first: one that came last would leave a worker idle."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory):
    """Stage 1's offline teacher is built once for all worker processes, not in the user's home."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    yield
    patch.undo()


@pytest.fixture(scope="module", autouse=True)
def _compiled_code_of_a_file_goes_with_it():
    """A worker of the whole suite needs 2 GB, and not 5, for 7% more processor time."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def xla_cache(tmp_path_factory):
    """Folder of compiled code, for the programs that tests of all workers start."""
    folder = tmp_path_factory.getbasetemp()
    return (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "xla"


@pytest.fixture
def make_mesh():
    """(number of devices) -> data-parallel mesh over the first of the eight."""

    def make(num_devices: int, **axes: int) -> Mesh:
        settings = sharding.MeshSettings(**({"data": num_devices} | axes))
        return sharding.make_mesh(settings, jax.devices()[:num_devices])

    return make
