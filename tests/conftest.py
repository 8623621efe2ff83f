"""Fixtures shared by the tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real collections, or a skip that says how to give one."""
    root = Path(__file__).resolve().parent.parent
    folder = Path(os.environ.get("DOMAINSSL_DATA", root / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip("real collections are absent; set DOMAINSSL_DATA to their folder")
    return folder
