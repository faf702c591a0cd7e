"""Protects figures as files: nothing half-written stays, and a missing folder is named."""

from pathlib import Path

import matplotlib
import pytest

from pipeline.files.figures import save_figure

matplotlib.use("Agg")


def test_a_figure_is_written_alone_and_closed(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    save_figure(plt.figure(), tmp_path / "x.png")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
    assert not plt.get_fignums()


def test_a_missing_folder_is_named_and_no_file_of_ours(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    (tmp_path / "file").touch()
    for folder in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(FileNotFoundError) as error:
            save_figure(plt.figure(), folder / "x.png")
        assert str(error.value) == f"{folder / 'x.png'}: there is no folder {folder}"
    assert not plt.get_fignums()
