"""Files that ship with the package; what they are is in README.md beside them."""

from pathlib import Path

TOKENIZER_PATH = Path(__file__).parent / "tokenizer.json"
