"""Questions that are answered by a script in place of a model."""

from functools import partial

import numpy as np
import pytest

from cogvit_jax.data.assets import FONT_PATH
from mmtp.data.documents import encode_prompt, stop_tokens
from mmtp.data.images import ImageSettings
from mmtp.data.records import Document, Image, Message, Text
from mmtp.data.tasks import open_tasks
from mmtp.data.tokenizer import load_tokenizer
from mmtp.evals import answers
from mmtp.generate import Completion

TOKENIZER = load_tokenizer()
STOP = stop_tokens(TOKENIZER)
IMAGES = ImageSettings(patch_size=14, max_patches=96)


class Scripted:
    """An engine that gives the replies it was told."""

    def __init__(self, replies):
        self.replies = replies

    def generate(self, requests):
        assert all(r.temperature == 0 and r.stop == STOP for r in requests)
        return [self._completion(reply) for reply in self.replies]

    def _completion(self, ids):
        ids = np.asarray(ids, np.int32)
        zeros, none = np.zeros(len(ids), np.float32), np.zeros((len(ids), 0))
        drafts = np.zeros((0, 3), np.int32)
        return Completion(ids, zeros, zeros, none, none, drafts, ids, "stop")


def document(task, answer, check="exact", **tags):
    picture = np.full((28, 56, 3), 200, np.uint8)
    turns = (
        Message("user", (Image(picture), Text(f"Which {task}?"))),
        Message("assistant", (Text(answer),)),
    )
    tags = {"task": task, "answer": answer, "check": check} | tags
    return Document(f"{task}/{answer}", "ocr", turns, tags)


def questions(*documents):
    encode = partial(encode_prompt, tokenizer=TOKENIZER, images=IMAGES)
    return answers.make_questions(documents, encode, STOP, max_new_tokens=8)


def ask(asked, *replies, num_shown=0):
    decode = partial(TOKENIZER.decode, skip_special=False)
    return answers.answers(
        lambda params: Scripted(replies), decode, asked, FONT_PATH, num_shown, None
    )


def ids(text, *specials, end=STOP[0]):
    return [*(TOKENIZER.id(s) for s in specials), *TOKENIZER.encode(text), end]


def test_right_replies_are_counted_by_task():
    asked = questions(document("digit", "7"), document("digit", "8"), document("colour", "red"))
    found = ask(asked, ids("7"), ids("7"), ids("Red."))
    assert found == {"right": pytest.approx(2 / 3), "right/colour": 1.0, "right/digit": 0.5}


def test_thoughts_boxes_and_stop_tokens_are_no_part_of_an_answer():
    asked = questions(*[document("digit", "7")] * 4)
    boxed = [TOKENIZER.id("<|begin_of_box|>"), *TOKENIZER.encode("7")]
    boxed += [TOKENIZER.id("<|end_of_box|>"), STOP[1]]
    think, no_more = TOKENIZER.id("<think>"), TOKENIZER.id("</think>")
    thought = [think, *TOKENIZER.encode("8?"), no_more, *ids("\n7")]
    bare = [think, *TOKENIZER.encode("7")]  # a thought that never ends is no answer
    found = ask(asked, boxed, thought, ids("\n7", "<think>", "</think>"), bare)
    assert found["right"] == 3 / 4
    assert ask(asked, *[ids("8 7")] * 4)["right"] == 0


def test_marks_of_calls_are_seen_by_the_check():
    """A reply without the mark that its answer has is another reply."""
    asked = questions(document("tool", "<tool_call>look</tool_call>"))
    marked = [TOKENIZER.id("<tool_call>"), *TOKENIZER.encode("look")]
    assert ask(asked, [*marked, TOKENIZER.id("</tool_call>"), STOP[0]])["right"] == 1
    assert ask(asked, ids("look"))["right"] == 0


def test_a_question_is_the_document_without_its_last_answer():
    good = document("digit", "7")
    unchecked = Document("a/b", "ocr", good.messages, {"answer": "7"})
    unanswered = Document("a/c", "ocr", good.messages[:1], good.tags)
    asked = questions(unchecked, good, unanswered)
    assert [q.document.id for q in asked] == ["digit/7"]
    prompt = asked[0].request.prompt
    assert TOKENIZER.decode(prompt.tokens, skip_special=False).endswith("<|assistant|>\n")
    assert prompt.category == 3  # "ocr"


def test_every_checked_task_is_right_with_its_own_answer():
    records = open_tasks("points/heldout").records
    asked = questions(*(records[i] for i in range(0, len(records), len(records) // 8)))
    found = ask(asked, *(ids(str(q.document.tags["answer"])) for q in asked))
    assert found["right"] == 1


def test_the_picture_shows_the_place_that_a_reply_names():
    asked = questions(document("point", "[500,500]", "point", box=(400, 400, 600, 600)))
    near, far = (ask(asked, ids(r), num_shown=1)["replies"] for r in ("[500,500]", "[1,1]"))
    assert near.dtype == np.uint8
    assert near.shape[2] == 3
    assert near.shape != far.shape or (near != far).any()  # the mark is elsewhere
    plain = np.full((224, 224, 3), 9, np.uint8)
    marked = answers.mark(plain, "[500,500]")
    rows, columns, _ = np.nonzero(marked != plain)
    assert abs(rows.mean() - 112) < 2
    assert abs(columns.mean() - 112) < 2
    np.testing.assert_array_equal(answers.mark(plain, "in the middle"), plain)
    assert ask(questions(document("digit", "7")), ids("7"), num_shown=3)["replies"].ndim == 3
