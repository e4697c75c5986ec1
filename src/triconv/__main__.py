"""``python -m triconv``: the command ``triconv``."""

import sys

from triconv.cli import main

sys.exit(main())
