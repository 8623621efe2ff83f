"""Fixtures shared by the tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# One process a core: more threads in each would only wait for one another. Set before torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def private_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Secret and lists of sources of the tests, away from the user's own."""
    folder = tmp_path_factory.mktemp("private")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOMAINSSL_PRIVATE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real collections, or a skip that says how to give one."""
    root = Path(__file__).resolve().parent.parent
    folder = Path(os.environ.get("DOMAINSSL_DATA", root / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip("real collections are absent; set DOMAINSSL_DATA to their folder")
    return folder


@pytest.fixture(scope="module")
def same_format() -> Iterator[None]:
    """Runs of a whole module in the default number format, see `small_runs.calm`."""
    from small_runs import calm  # here, since torch is to be imported by those who need it alone

    with calm():
        yield


@pytest.fixture
def calm_runs(same_format: None) -> None:
    """Besides, one thread for each test: the map of an earlier one may have changed it."""
    import torch

    torch.set_num_threads(1)
