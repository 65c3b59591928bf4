"""Makes the helper modules beside these tests importable; one API server for all of them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from crd_api import CrdApi


@pytest.fixture(scope="session")
def crd_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrdApi]:
    """A real API server that has the custom resources of the operators."""
    reason = CrdApi.missing()
    if reason is not None:
        pytest.skip(reason)
    with CrdApi(tmp_path_factory.mktemp("crd-api")) as api:
        yield api
