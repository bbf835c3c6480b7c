"""The command line of programs that look at something."""

import argparse
import sys
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """A parser that ends with one line, as the other programs do."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong with the arguments."""
        sys.exit(f"error: {' '.join(message.split())} (see --help)")
