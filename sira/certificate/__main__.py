"""``python -m sira.certificate MODEL CERTIFICATE``."""

import sys

from sira.certificate.checker import main

sys.exit(main())
