"""`python -m headwater.train …` is `headwater train …`, for launchers that start a module (torchrun -m)."""

import sys

from headwater.core.cli import main

sys.argv.insert(1, "train")
main()
