"""The validator finds exactly the records that were spoilt, and says where and why."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow
from rich.console import Console

from cogvit_jax.data.records import CorruptRecord
from mmtp.data.documents import encode
from mmtp.data.images import ImageSettings
from mmtp.data.jsonl import write_jsonl
from mmtp.data.records import Document, Image, Message, Text
from mmtp.data.sources import open_source
from mmtp.data.tokenizer import load_tokenizer
from mmtp.data.validate import Rules, check_encoded, summarise, validate
from mmtp.data.webdataset import write_webdataset

RULES = Rules(load_tokenizer(), supervise="assistant", seq_len=100)


def summary_of(spec):
    """The summary, and the lines that are printed."""
    printed = io.StringIO()
    summary = summarise(validate(open_source(spec), RULES), Console(file=printed, width=80))
    return summary, printed.getvalue().splitlines()


def picture(seed):
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (56, 56, 3), np.uint8)
    Pillow.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def document(i, category="ocr"):
    question = Message("user", (Image(picture(i)), Text("Which?")))
    return Document(f"n/{i}", category, (question, Message("assistant", (Text("7"),))))


@pytest.fixture
def spoilt(tmp_path):
    """Twelve records, of which line -> reason are bad."""
    documents = [document(i) for i in range(10)]
    documents.append(Document("n/10", "text", documents[0].messages))
    documents.append(Document("n/2", "ocr", documents[2].messages))
    path = tmp_path / "set.jsonl"
    write_jsonl(path, documents)
    lines = path.read_text().splitlines()
    files = [json.loads(line)["messages"][0]["content"][0]["image"] for line in lines]
    (tmp_path / files[1]).unlink()
    (tmp_path / files[3]).write_bytes((tmp_path / files[3]).read_bytes()[:3000])
    (tmp_path / files[4]).write_text("<html><body>404 Not Found</body></html>")
    lines[5] = lines[5][:-30]
    lines[6] = lines[6].replace('"ocr"', '"cats"')
    lines[7] = lines[7].replace('"assistant"', '"system"')
    lines[8] = lines[8].replace("Which?", "Which? " * 200)
    path.write_text("\n".join(lines))
    return path, {
        2: "cannot be read",
        4: "undecodable picture",
        5: "undecodable picture",
        6: "the line is not JSON",
        7: "category 'cats' is not known",
        8: "no assistant's turn",
        9: "exceed --seq_len=100",
        12: "its id 'n/2' is that of",
    }


def test_finds_every_bad_record_and_counts_the_others(spoilt):
    path, expected = spoilt
    summary, lines = summary_of(f"jsonl:{path}")
    found = {int(f.place.rsplit(":", 1)[1]): f.reason for f in summary.bad}
    assert found.keys() == expected.keys()
    for line, reason in expected.items():
        assert reason in found[line]
    assert len(lines) == len(expected)
    assert all(line.startswith(f"{path}:") for line in lines)
    assert lines[0].count("set.jsonl:2") == 1
    one = encode(document(0), RULES.tokenizer, RULES.images, "assistant")
    counts = np.array([1, len(one.tokens), one.supervised.sum(), 1, 16])
    np.testing.assert_array_equal(summary.categories["ocr"], 3 * counts)
    np.testing.assert_array_equal(summary.categories["text"], counts)


def test_a_truncated_shard(tmp_path):
    path = tmp_path / "set.tar"
    write_webdataset(path, [document(i) for i in range(4)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    summary, _ = summary_of(f"webdataset:{path}")
    assert summary.bad
    assert all(str(path) in finding.place for finding in summary.bad)
    assert 1 <= summary.categories["ocr"][0] < 4


def test_placeholders_that_are_not_the_pictures():
    found = encode(document(0), RULES.tokenizer, ImageSettings(), "assistant")
    check_encoded(found, RULES)
    with pytest.raises(CorruptRecord, match="4 placeholders for 0 features"):
        check_encoded(replace(found, visuals=()), RULES)


def run(*arguments):
    command = [sys.executable, "-m", "mmtp.data.validate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_command(spoilt):
    path, expected = spoilt
    done = run(f"jsonl:{path}", "--supervise=assistant", "--seq_len=100")
    assert done.returncode == 1, done.stderr
    assert f"{path}:4: " in done.stdout
    assert f"{12 - len(expected)} of 12 records can be used" in done.stdout
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[i] for i in (0, 2, 9, 10)))
    assert run(f"jsonl:{path}").returncode == 0
    shutil.rmtree(path.parent / "set_pictures")
    assert run(f"jsonl:{path}").returncode == 1


def test_help_and_a_wrong_source():
    done = run("--help")
    assert done.returncode == 0
    assert "--seq_len" in done.stdout
    wrong = run("jsonl:/nowhere.jsonl")
    assert wrong.returncode == 1
    assert wrong.stderr.strip() == "error: jsonl:/nowhere.jsonl: no such file"
