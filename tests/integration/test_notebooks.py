"""The notebooks of the examples, in a real kernel, against the sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bfl_async.sandbox import Sandbox

nbclient = pytest.importorskip("nbclient", reason="the packages of requirements-dev.txt are not installed")
pytest.importorskip("ipykernel", reason="the packages of requirements-dev.txt are not installed")

FOLDER = Path(__file__).parent.parent.parent / "examples" / "notebooks"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # Of the libraries of Jupyter, and of a kernel's sockets.
    pytest.mark.filterwarnings("ignore"),
]


def outputs_of(cell: Any) -> str:
    """Return everything that a cell shows, as one text."""
    shown = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        shown.append(data.get("text/html") or data.get("text/plain") or output.get("text", ""))
    return "\n".join(shown)


@pytest.mark.parametrize("name", ["await.ipynb", "blocking.ipynb"])
async def test_the_notebook_runs_and_shows_its_pictures(
    name: str, bfl_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first cell to the last, in a new kernel and an empty folder."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(FOLDER / name, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    await client.async_execute()
    shown = {cell["source"]: outputs_of(cell) for cell in notebook.cells if cell["cell_type"] == "code"}
    texts = list(shown.values())
    assert not any("Traceback" in text or "Warning" in text for text in texts), texts
    unsaved = next(text for source, text in shown.items() if source.endswith("\nresult"))
    assert f'src="{bfl_sandbox.url}' in unsaved
    sheets = [text for text in texts if "<figure" in text]
    assert [sheet.count("<img") for sheet in sheets] == [3, 3]
    (bar,) = [text for text in texts if "<progress" in text]
    assert 'max="3" value="3"' in bar
    (updates,) = [text for source, text in shown.items() if "updates()" in source]
    assert "None" not in updates.partition("<div>")[0]
    assert "Ready" in updates
    assert (tmp_path / "lighthouse.jpg").stat().st_size > 100


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    """Nothing of a run goes into the repository: no picture, no URL, no count."""
    for cell in json.loads(path.read_text())["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
