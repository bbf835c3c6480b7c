"""What a resumed run does with the numbers of the steps it takes again."""

import json

from cogvit_jax import metrics


def test_drop_lines_after(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics.drop_lines_after(path, 3)  # nothing there yet
    assert not path.exists()
    lines = [json.dumps({"step": s, "name": "数字"}) for s in (1, 2, 2, 3, 4)]
    for rest in ("", '{"step": 5, "lo', "\n", '{"step": 5}'):
        path.write_text("\n".join([*lines, rest]), "utf-8")
        metrics.drop_lines_after(path, 3)
        assert [m["step"] for m in metrics.read_jsonl(path)] == [1, 2, 2, 3]
    assert not list(tmp_path.glob("*.tmp"))
