"""The convert command: files to a workdir that answers, a run to files, and errors in one line."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image as Pillow
from rich.console import Console
from safetensors.numpy import load_file

import cogvit_jax.convert  # noqa: F401  A process may import both, and flags must not clash.
from cogvit_jax import checkpoint
from cogvit_jax.interop.files import WeightsError
from cogvit_jax.settings import ConfigError
from mmtp import convert, run
from mmtp.data.documents import encode_prompt, stop_tokens
from mmtp.data.images import ImageSettings
from mmtp.data.records import Image, Message, Text
from mmtp.data.tokenizer import load_tokenizer
from mmtp.generate import Engine, EngineSettings, make_request
from mmtp.interop.glm import load_glm
from mmtp.interop.glm_save import save_glm
from tests.mmtp import tiny_vlm
from tests.mmtp.interop import glm_cases

ROOT = Path(__file__).parents[2]
IMAGES = ImageSettings(
    patch_size=4, frames_per_patch=2, min_patches=4, max_patches=64, max_video_patches=256
)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A tiny random model in GLM-OCR's files, with the embedded vocabulary."""
    tokenizer = load_tokenizer()
    model = tiny_vlm.model(tokenizer.vocab_size, tokenizer.id("<|image|>"), depth=1)
    decoder = replace(model.decoder, tied=False)
    model = replace(model, decoder=decoder, patch_dim=2 * model.patch_dim)
    folder = tmp_path_factory.mktemp("files") / "glm"
    save_glm(folder, model, glm_cases.random_params(model), tokenizer_json="", images=IMAGES)
    return folder


def converted(source, target, dtype=""):
    console = Console(file=io.StringIO(), width=200)
    convert.convert(str(source), str(target), dtype, console)
    return console.file.getvalue()


def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_released_files_answer_a_question_about_a_picture(theirs):
    loaded = run.load(str(theirs))
    assert loaded.images == IMAGES
    assert loaded.vision_length == 64
    message = Message("user", (Image(picture()), Text("What is it?")))
    prompt = encode_prompt([message], loaded.tokenizer, loaded.images)
    settings = EngineSettings(
        rows=1, max_length=96, buckets=(), vision_length=loaded.vision_length, num_draft=1
    )
    request = make_request(0, prompt, max_new_tokens=8, stop=stop_tokens(loaded.tokenizer))
    (completion,) = Engine(loaded.model, loaded.params, settings).generate([request])
    # Greedy by hand: the most probable token after what is there so far.
    tokens = completion.tokens
    assert completion.finish_reason == ("length" if len(tokens) == 8 else "stop")
    whole = glm_cases.longer(prompt, tokens)
    (logits,) = glm_cases.logits(loaded.model, loaded.params, [whole], left=False)
    np.testing.assert_array_equal(logits[len(prompt.tokens) - 1 : -1].argmax(axis=-1), tokens)


def test_there_and_back(theirs, tmp_path):
    workdir, out = tmp_path / "run", tmp_path / "out"
    shown = converted(f"hf:{theirs}", workdir)
    _, params = load_glm(theirs)
    found, step = checkpoint.read_params(str(workdir))  # what config.train.init_from reads
    assert step == 0
    jax.tree.map(np.testing.assert_array_equal, found, params)
    assert f'--config.train.init_from="{workdir}"' in shown
    assert '--config.images.frames_per_patch="2"' in shown
    loaded = run.load(str(workdir))
    assert loaded.images == IMAGES
    assert loaded.model.decoder.mrope_sections == (2, 1, 1)
    converted(workdir, out)
    before, after = (load_file(f / "model.safetensors") for f in (theirs, out))
    assert before.keys() == after.keys()
    for name, x in before.items():
        np.testing.assert_array_equal(after[name], x)
    for name in ("tokenizer.json", "preprocessor_config.json", "chat_template.jinja"):
        assert (out / name).read_text() == (theirs / name).read_text()
    configs = [json.loads((f / "config.json").read_text()) for f in (theirs, out)]
    assert configs[0] == configs[1]


def test_arrays_in_another_dtype(theirs, tmp_path):
    converted(f"hf:{theirs}", tmp_path / "run")
    converted(tmp_path / "run", tmp_path / "out", "bfloat16")
    arrays = load_file(tmp_path / "out" / "model.safetensors")
    assert {str(x.dtype) for x in arrays.values()} == {"bfloat16"}


def test_errors_say_what_to_give(theirs, tmp_path):
    new, full = tmp_path / "new", tmp_path / "full"
    full.mkdir()
    (full / "file").write_text("")
    other = glm_cases.write_checkpoint(tmp_path / "4v", glm_cases.load_golden("4v"))
    bare = glm_cases.write_checkpoint(tmp_path / "ocr", glm_cases.load_golden("ocr"))
    for source, target, kind, message in (
        (f"hf:{theirs}", f"hf:{new}", ConfigError, r"only the source takes hf:"),
        (f"hf:{theirs}", full, FileExistsError, r"full is not an empty folder"),
        (f"hf:{new}", new, FileNotFoundError, r"new does not exist"),
        (new, new, FileNotFoundError, r"new/config\.json does not exist"),
        (f"hf:{other}", new, WeightsError, r"GLM-4V's and mmtp\.main trains CogViT"),
        (f"hf:{bare}", new, FileNotFoundError, r"ocr/tokenizer\.json is not a file"),
    ):
        with pytest.raises(kind, match=message):
            converted(source, target)
        assert not new.exists()
    with pytest.raises(ConfigError, match="dtype = 'half' is not known"):
        converted(f"hf:{theirs}", new, "half")


def test_the_command(theirs, tmp_path):
    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "mmtp.convert", *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )

    done = command("--help")
    assert "python -m mmtp.convert hf:/path/GLM-OCR" in done.stdout
    assert "--array_dtype" in done.stdout
    done = command(f"hf:{tmp_path / 'none'}", tmp_path / "new")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "none does not exist" in done.stderr
    assert "Traceback" not in done.stderr
