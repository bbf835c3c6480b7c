"""What main, evaluate and embed share: parsing flags, `--help`, and ending with one line."""

import inspect
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags, logging

# Whose flags `--help` shows: modules, or the path of the one that was started.
PACKAGES = ("cogvit_jax", "mmtp")
HELP = {"--help", "-help", "-h", "--h", "-?", "--helpshort"}


def run(main: Callable[[list[str]], None], required: Sequence[str]) -> None:
    """Parses flags and calls `main(arguments)` under absl.

    Ends with status 1 and one line where a flag or the config is wrong, and with status 0 after
    `--help`.
    """
    module = inspect.getmodule(main)
    flags.mark_flags_as_required(required)
    logging.set_verbosity(logging.WARNING)

    def parse(argv: list[str]) -> list[str]:
        if HELP & set(argv[1:]):
            print(usage(module.__doc__ or "" if module else ""))
            sys.exit(0)
        return parse_flags(argv)

    app.run(main, flags_parser=parse)


def usage(doc: str) -> str:
    """A command's docstring and the flags that this package defines, one below the other."""
    lines = [doc.strip(), "", "Flags:"]
    for module, found in sorted(flags.FLAGS.flags_by_module_dict().items()):
        if not any(package in module for package in PACKAGES):
            continue
        for flag in found:
            default = "" if flag.default in (None, "", [], False) else f" [{flag.default}]"
            lines.append(f"  --{flag.name}{default}")
            lines.append(textwrap.indent(textwrap.fill(flag.help or "", 90), " " * 6))
    lines.append("\n--helpfull lists the flags of other packages too.")
    return "\n".join(lines)


def parse_flags(argv: list[str]) -> list[str]:
    """The arguments that are no flags; ends with one line if a flag or the config is wrong."""
    try:
        rest = flags.FLAGS(argv)
        if "config" in flags.FLAGS:
            _ = flags.FLAGS.config.program  # a file that is not there shows when it is asked for
        return rest
    except (AttributeError, KeyError) as error:
        # ml_collections wraps one error in another for a field that is not there.
        reason: Any = error
        while isinstance(reason, BaseException):
            reason = reason.args[0]
        sys.exit(f"error: --config: not found: {' '.join(str(reason).split())}")
    except (flags.Error, OSError) as error:  # the reason stands last, after other code's traceback
        sys.exit(f"error: {str(error).strip().splitlines()[-1].strip()}")
