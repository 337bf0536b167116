"""Run the command line program: `python -m modelwrap`."""

import sys

from modelwrap.cli import main

sys.exit(main())
