"""``python -m sira`` is ``sira-compile``."""

import sys

from sira.driver.cli import main

sys.exit(main())
