"""Files that ship with the package; their origin and licences are in README.md beside them."""

from pathlib import Path

FONT_PATH = Path(__file__).parent / "wqy_microhei_subset.ttf"
TOKENIZER_PATH = Path(__file__).parent / "bilingual.model"
WORDS_PATH = Path(__file__).parent / "words.txt"
