"""Talks with a trained model in the terminal.

    python -m mmtp.chat --checkpoint=RUN_DIR
    python -m mmtp.chat --checkpoint=RUN_DIR --image=digits.png --prompt="Which digits are these?"

A line is a question, and so is what goes with it: `/image FILE` adds a picture to the next one,
`/reset` forgets the conversation, `/quit` (or the end of input) ends. `--image` may name several
files, separated by commas. With `--prompt` one question is answered. `--speculative=N` drafts N
tokens per step with the MTP layers and tells at the end how many were kept. `--nothinking` asks for
answers without thoughts, where the model's template knows of that.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from absl import flags

from cogvit_jax import commands
from cogvit_jax.programs import EXPECTED_ERRORS
from mmtp.data.documents import encode_prompt, stop_tokens
from mmtp.data.records import Image, Message, Text
from mmtp.data.tokenizer import StreamDecoder
from mmtp.evals import acceptance
from mmtp.generate import Completion, Engine, EngineSettings, Request, make_request
from mmtp.serving.errors import told
from mmtp.serving.options import (
    CHECKPOINT,
    MAX_LENGTH,
    SPECULATIVE,
    THINKING,
    buckets,
    with_thinking,
)

IMAGES = flags.DEFINE_list("image", [], "Picture files shown with the first question.")
PROMPT = flags.DEFINE_string("prompt", None, "One question; without it, questions are read.")
TEMPERATURE = flags.DEFINE_float("temperature", 0.0, "0 = always the most probable token.")
TOP_K = flags.DEFINE_integer("top_k", 0, "Only the k most probable tokens; 0 = all.")
TOP_P = flags.DEFINE_float("top_p", 1.0, "Only the most probable tokens of this mass; 1 = all.")
SEED = flags.DEFINE_integer("seed", 0, "Of the random numbers.")
MAX_TOKENS = flags.DEFINE_integer(
    "max_tokens", 512, "Most tokens of an answer, as far as there is room."
)
# Of what was typed, of files and of the checkpoint; CorruptRecord and RequestError are ValueErrors.
ERRORS = (*EXPECTED_ERRORS, OSError, ValueError)


@dataclass
class Conversation:
    """What was said so far.

    Attributes:
        loaded: model, params, tokenizer and image settings (`mmtp.run.load`).
        engine: of one row.
        options: of every request: max_new_tokens, temperature, ….
        messages: turns in order.
        pictures: that go with the next question.
        asked: every request with its completion, for the acceptance length.
    """

    loaded: Any
    engine: Engine
    options: dict[str, Any]
    messages: list[Message] = field(default_factory=list)
    pictures: list[Image] = field(default_factory=list)
    asked: list[tuple[Request, Completion]] = field(default_factory=list)

    def ask(self, question: str) -> Iterator[str]:
        """Pieces of the answer as they come; afterwards it is part of the conversation.

        Raises:
            CorruptRecord: a picture that cannot be used.
            RequestError: too long; the conversation stays as it was.
        """
        parts = (*self.pictures, *([Text(question)] if question else []))
        messages = [*self.messages, Message("user", parts)]
        loaded = self.loaded
        prompt = encode_prompt(messages, loaded.tokenizer, loaded.images, loaded.chat)
        stop = stop_tokens(self.loaded.tokenizer)
        room = max(1, self.engine.settings.max_length - len(prompt.tokens))
        options = self.options | {"max_new_tokens": min(room, self.options["max_new_tokens"])}
        request = make_request(len(self.asked), prompt, stop=stop, **options)
        self.engine.add(request)
        answer = ""
        for piece in self._stream(request):
            answer += piece
            yield piece
        self.messages = [*messages, Message("assistant", (Text(answer),))]
        self.pictures = []

    def reset(self) -> None:
        """Forgets what was said and shown."""
        self.messages, self.pictures = [], []

    def _stream(self, request: Request) -> Iterator[str]:
        decoder, seen = StreamDecoder(self.loaded.tokenizer), 0
        try:
            while self.engine.busy:
                for _, completion in self.engine.advance(max_steps=1):
                    new = completion.tokens[seen:]
                    seen += len(new)
                    yield decoder.push(*map(int, new))
                    if completion.finish_reason:
                        self.asked.append((request, completion))
            yield decoder.finish()
        finally:
            self.engine.cancel(request)


def begin(loaded: Any, options: dict[str, Any], max_length: int, num_draft: int) -> Conversation:
    """A conversation with nothing said yet.

    Args:
        loaded: of `mmtp.run.load`.
        options: fields of `Request` for every answer; must have `max_new_tokens`.
        max_length: most tokens of the conversation.
        num_draft: tokens drafted per step.
    """
    settings = EngineSettings(
        rows=1,
        max_length=max_length,
        buckets=buckets(max_length),
        vision_length=loaded.vision_length,
        num_draft=num_draft,
    )
    return Conversation(loaded, Engine(loaded.model, loaded.params, settings), options)


def answer(conversation: Conversation, question: str, out: TextIO) -> None:
    """Writes the answer to `out` as it comes."""
    for piece in conversation.ask(question):
        out.write(piece)
        out.flush()
    out.write("\n")


def talk(conversation: Conversation, lines: Iterator[str], out: TextIO) -> None:
    """Answers lines until they end; what cannot be done is told, and the talk goes on."""
    for line in lines:
        command, _, rest = line.strip().partition(" ")
        try:
            if command == "/quit":
                return
            if command == "/reset":
                conversation.reset()
                out.write("The conversation starts anew.\n")
            elif command == "/image":
                conversation.pictures.append(read_image(rest.strip()))
                out.write(f"{rest.strip()} goes with the next question.\n")
            elif command.startswith("/"):
                out.write(f"{command} is not known; there are /image FILE, /reset and /quit.\n")
            elif line.strip():
                answer(conversation, line.strip(), out)
        except ERRORS as error:
            out.write(f"error: {told(error)}\n")


def read_image(path: str) -> Image:
    """A picture file; FileNotFoundError names one that is not there."""
    file = Path(path).expanduser()
    if not path or not file.is_file():
        raise FileNotFoundError(f"picture {path!r} is not a file.")
    return Image(file.read_bytes())


def typed() -> Iterator[str]:
    """Lines from the terminal, until it ends."""
    while True:
        try:
            yield input("> ")
        except (EOFError, KeyboardInterrupt):
            return


def report(conversation: Conversation) -> str:
    """One line on what drafting gave; "" where nothing was drafted."""
    if not conversation.asked:
        return ""
    requests, completions = zip(*conversation.asked, strict=True)
    figures = acceptance.summarise(acceptance.generated(requests, completions))
    if not figures:
        return ""
    rates = [f"{v:.0%}" for name, v in figures.items() if name.startswith("rate/")]
    return (
        f"acceptance length {figures['length']:.2f} over {figures['steps']:.0f} steps; "
        f"kept by place: {', '.join(rates)}"
    )


def main(argv: list[str]) -> None:
    """Entry point under absl."""
    del argv
    from mmtp.run import load

    options = {
        "max_new_tokens": MAX_TOKENS.value,
        "temperature": TEMPERATURE.value,
        "top_k": TOP_K.value,
        "top_p": TOP_P.value,
        "seed": SEED.value,
    }
    try:
        loaded = with_thinking(load(str(CHECKPOINT.value)), THINKING.value)
        length = MAX_LENGTH.value or loaded.max_length
        conversation = begin(loaded, options, length, SPECULATIVE.value)
        conversation.pictures = [read_image(path) for path in IMAGES.value]
        if PROMPT.value is not None:
            answer(conversation, PROMPT.value, sys.stdout)
        else:
            talk(conversation, typed(), sys.stdout)
    except ERRORS as error:
        sys.exit(f"error: {told(error)}")
    if line := report(conversation):
        print(line)


if __name__ == "__main__":
    commands.run(main, required=("checkpoint",))
