"""Instructions on an answer's form that can be checked, and one fact of a picture.

IFEval's strict accuracy: all constraints hold, or nothing is paid. Its constraints alone can be met
without a look at the picture, so one sentence of the answer must be the right one of several
sentences that differ in a fact, and none may be another of them.
"""

import re
from collections.abc import Callable, Mapping

from rl.answers.json_answer import parse_json
from rl.rewards.rules.text import normalise
from rl.types import Json

MAX_CHARACTERS = 5000
BULLET = "- "
_SENTENCE_ENDS = re.compile(r"[.!?。！？\n]")
_WORD = re.compile(r"[A-Za-z0-9]+(?:['’-][A-Za-z0-9]+)*")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_LETTER = re.compile(r"[A-Za-z]")

Constraint = Mapping[str, Json]


def constraints(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the fact is right and all constraints hold, else 0.

    Args:
        answer: what was said.
        reference: "facts", sentences of which exactly the first must be one of the answer's own;
            "constraints", dicts whose "kind" is a key of CHECKS.
    """
    if not answer.strip() or len(answer) > MAX_CHARACTERS:
        return 0.0
    said = [normalise(sentence) for sentence in sentences(answer)]
    facts = [normalise(fact) for fact in reference["facts"]]
    parsed = parse_json(answer)
    beside = [normalise(key) for key in parsed] if isinstance(parsed, dict) else []
    if said.count(facts[0]) != 1 or any(fact in (*said, *beside) for fact in facts[1:]):
        return 0.0
    return float(all(holds(answer, constraint) for constraint in reference["constraints"]))


def holds(answer: str, constraint: Constraint) -> bool:
    """Whether one constraint holds."""
    return CHECKS[constraint["kind"]](answer.strip(), constraint)


def sentences(answer: str) -> list[str]:
    """What stands between full stops and line ends; the strings of a JSON object one by one.

    Strings that are deeper in it too: an answer must not hide there what it says besides.
    """
    parsed = parse_json(answer)
    found = []
    for text in _strings(parsed) if isinstance(parsed, dict) else [answer]:
        for part in _SENTENCE_ENDS.split(text):
            bare = part.strip().removeprefix(BULLET).strip()
            found += [bare] if bare else []
    return found


def _strings(value: Json) -> list[str]:
    """All values that are texts, in order."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] if isinstance(value, str) else [text for one in inner for text in _strings(one)]


def num_words(answer: str) -> int:
    """Words of Latin letters and digits, and Chinese characters, one each."""
    return len(_WORD.findall(answer)) + len(_CHINESE.findall(answer))


def _lines(answer: str) -> list[str]:
    return [line for line in answer.split("\n") if line.strip()]


def _words(answer: str, rule: Constraint) -> bool:
    return rule["least"] <= num_words(answer) <= rule["most"]


def _include(answer: str, rule: Constraint) -> bool:
    return _times(answer, rule["word"]) >= rule["times"]


def _exclude(answer: str, rule: Constraint) -> bool:
    return all(_times(answer, word) == 0 for word in rule["words"])


def _times(answer: str, word: str) -> int:
    """How often a word occurs: as a whole one if it is of Latin letters."""
    if word.isascii() and word.isalnum():
        return [w.lower() for w in _WORD.findall(answer)].count(word.lower())
    return answer.lower().count(word.lower())


def _bullets(answer: str, rule: Constraint) -> bool:
    lines = _lines(answer)
    return len(lines) == rule["count"] and all(
        line.startswith(BULLET) and len(line) > len(BULLET) for line in lines
    )


def _num_sentences(answer: str, rule: Constraint) -> bool:
    return len(sentences(answer)) == rule["count"]


def _num_lines(answer: str, rule: Constraint) -> bool:
    return len(_lines(answer)) == rule["count"]


def _starts(answer: str, rule: Constraint) -> bool:
    return answer.startswith(rule["text"])


def _ends(answer: str, rule: Constraint) -> bool:
    return answer.endswith(rule["text"])


def _json(answer: str, rule: Constraint) -> bool:
    parsed = parse_json(answer, max_depth=1)
    return (
        isinstance(parsed, dict)
        and sorted(parsed) == sorted(rule["keys"])
        and all(isinstance(value, str) and value.strip() for value in parsed.values())
    )


def _language(answer: str, rule: Constraint) -> bool:
    chinese, latin = len(_CHINESE.findall(answer)), len(_LETTER.findall(answer))
    return chinese == 0 < latin if rule["language"] == "en" else latin == 0 < chinese


def _lower(answer: str, _: Constraint) -> bool:
    return answer == answer.lower()


CHECKS: dict[str, Callable[[str, Constraint], bool]] = {
    "words": _words,
    "include": _include,
    "exclude": _exclude,
    "bullets": _bullets,
    "sentences": _num_sentences,
    "lines": _num_lines,
    "starts": _starts,
    "ends": _ends,
    "json": _json,
    "language": _language,
    "lower": _lower,
}
