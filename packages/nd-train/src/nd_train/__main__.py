"""``python -m nd_train`` is ``nd-train``."""

import sys

from nd_train.cli import main

sys.exit(main())
