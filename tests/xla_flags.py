"""Flags with which the tests compile: nearly all of their time is XLA's."""

import jaxlib

_QUICK = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    # Its kernels are compiled one by one through MLIR, which no level of optimisation leaves out.
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)


def quick() -> str:
    """Flags that leave optimisations out; none where jaxlib is not of the release they are of.

    XLA ends a process that is given a flag it does not know.
    """
    return " ".join(_QUICK) if jaxlib.version.__version__.startswith("0.10.") else ""
