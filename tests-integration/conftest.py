"""What the integration tests share: small simulated recordings, and the real ones where they are at hand."""

import sys
from collections import Counter
from pathlib import Path

import lightning  # noqa: F401  # its log handler would keep the captured stderr of the test that imports it first
import pytest
import yaml

from nd_data.simulate import simulate_recordings

HERE = Path(__file__).parent
# Converters live beside the tests and are no part of any package.
sys.path.insert(0, str(HERE))

RECORDINGS = HERE.parent.parent / "shared" / "recordings"

GUIDE_CONFIGURATION = """
config:
  multitask_readout:
    - readout_id: cursor_velocity_2d
      weights:
        movement_phases.reach_period: 5.0
        movement_phases.hold_period: 0.1
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: processes that share out files would otherwise wait for one that began last."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def processed(tmp_path_factory) -> Path:
    """Two simulated recordings of a minute, shared by all tests: read only."""
    root = tmp_path_factory.mktemp("simulated") / "processed"
    simulate_recordings(root, sessions=2, minutes=1.0, units=30, seed=0)
    return root


@pytest.fixture
def workplace(processed, tmp_path, monkeypatch) -> Path:
    """A working folder with ``./processed`` and ``config.yaml``, as the guide's script expects."""
    (tmp_path / "processed").symlink_to(processed)
    (tmp_path / "config.yaml").write_text(GUIDE_CONFIGURATION)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def single_task_configuration(workplace) -> Path:
    """As ``config.yaml``, with one readout, for POYO."""
    path = workplace / "single.yaml"
    path.write_text(yaml.safe_dump({"config": {"readout": {"readout_id": "cursor_velocity_2d"}}}))
    return path


@pytest.fixture(scope="session")
def real_recordings() -> Path:
    """The folder of real recordings; the test skips, saying so, where it is absent."""
    if not RECORDINGS.is_dir():
        pytest.skip("the real recordings (shared/recordings beside the repository) are not here")
    return RECORDINGS
