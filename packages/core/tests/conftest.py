"""Makes the helper modules of this folder importable (`synthetic_run`); property tests have no time limit each."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
settings.register_profile("headwater", deadline=None)  # a first call into numpy is slow, and that is no failure
settings.load_profile("headwater")
