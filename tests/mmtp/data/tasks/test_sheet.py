"""Contact sheets: every document is shown, and the command writes them."""

import numpy as np
import pytest
from PIL import Image as Pillow

from mmtp.data.tasks import draw, sheet


def test_a_sheet_shows_pictures_pixel_for_pixel():
    page = sheet.sheet("digits/heldout", 2)
    assert page.dtype == np.uint8
    assert page.shape[1] == sheet.COLUMNS * (sheet.WIDTH + sheet.GAP)
    parts = draw("digits", "heldout", 1).messages[0].parts
    picture = next(part.data for part in parts if hasattr(part, "data"))
    left = sheet.WIDTH + sheet.GAP
    second = page[:, left : left + 56]
    assert any(np.array_equal(second[top : top + 56], picture) for top in range(len(page) - 56))


@pytest.mark.parametrize("name", ["video/train", "tool_use/train", "text/heldout", "coding/train"])
def test_all_kinds_of_documents_have_cards(name):
    assert sheet.sheet(name, 2).std() > 10


def test_the_command_writes_a_picture(tmp_path, capsys):
    sheet.main(["colours/train", str(tmp_path / "out.png")])
    with Pillow.open(tmp_path / "out.png") as written:
        assert written.width == sheet.sheet("colours/train").shape[1]
    assert "out.png" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="Usage"):
        sheet.main(["colours/train"])
