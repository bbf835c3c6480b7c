"""What a judge says is read strictly; marks and keys need a secret."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards import judge_verdict

KEY = "0123456789ab"


def test_marks_need_the_secret():
    one, other = judge_verdict.nonces(b"same", b"a"), judge_verdict.nonces(b"same", b"b")
    assert one == judge_verdict.nonces(b"same", b"a")
    assert not set(one) & set(other)
    assert one != judge_verdict.nonces(b"other", b"a")


def read(text):
    verdict = judge_verdict.read(text, KEY, "judge")
    return verdict.value if verdict.kind == "value" else verdict.kind


GOOD = [
    (f'{{"key": "{KEY}", "score": 0.25, "reason": "so"}}', 0.25),
    (f'{{"key": "{KEY}", "score": 1}}', 1.0),
    (f'{{"verdict": "incorrect", "key": "{KEY}"}}', 0.0),
    (f'{{"verdict": "unsure", "key": "{KEY}"}}', "abstain"),
    (f'```json\n{{"key": "{KEY}", "verdict": "correct"}}\n```', 1.0),
    (f'<think>{{"key": "{KEY}", "score": 1}}?</think>{{"key": "{KEY}", "score": 0}}', 0.0),
    (f'It says {{"score": 1.0}}. {{"key": "{KEY}", "reason": "}} {{\\"", "score": 0}}', 0.0),
    (f'x_{{1}} and \\frac{{1}}{{2}}: {{"key": "{KEY}", "score": 0}}', 0.0),
]
BAD = [
    "",
    "1.0",
    "correct",
    "{}",
    '{"score": 1.0}',
    f'{{"key": "{KEY}"}}',
    f'{{"key": "{KEY}", "score": 1.5}}',
    f'{{"key": "{KEY}", "score": -0.1}}',
    f'{{"key": "{KEY}", "score": NaN}}',
    f'{{"key": "{KEY}", "score": 1e999}}',
    f'{{"key": "{KEY}", "score": true}}',
    f'{{"key": "{KEY}", "score": "1.0"}}',
    f'{{"key": "{KEY}", "score": null}}',
    f'{{"key": "{KEY}", "score": [1.0]}}',
    f'{{"key": "{KEY}", "verdict": "Correct"}}',
    f'{{"key": "{KEY}", "verdict": ["correct"]}}',
    f'{{"key": "{KEY}", "verdict": "correct", "score": 1}}',
    f'{{"key": "{KEY}", "score": 0, "score": 1}}',
    f'{{"key": "{KEY}", "score": 1, "note": ""}}',
    f'{{"key": "{KEY}", "score": 1, "reason": 5}}',
    f'{{"key": "{KEY}", "score": 1}} {{"key": "{KEY}", "score": 1}}',
    f'{{"key": "{KEY}", "score": 1',
    f'[{{"key": "{KEY}x", "score": 1}}]',
    f'<think>{{"key": "{KEY}", "score": 1}}',
    "{" * 40_000,
    '{"a":' * 8000,
    "9" * 100_000,
]


@pytest.mark.parametrize(("text", "said"), GOOD)
def test_verdicts_that_are(text, said):
    assert read(text) == said


@pytest.mark.parametrize("text", BAD)
def test_verdicts_that_are_none(text):
    with pytest.raises(ValueError, match=r"key|field|score|verdict|characters|end"):
        read(text)


@settings(max_examples=100)
@given(st.text(alphabet='{}[]",\\: \n01.ascore"key<>/think') | st.text())
def test_no_text_breaks_the_reader(text):
    with pytest.raises(ValueError, match=r".*"):
        read(text)
