"""The flag --config, in a module of its own: a process may import several commands that have it."""

from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, such as configs/stage2.py:tiny."
)
