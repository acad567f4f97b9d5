"""`python -m kto_tui` is the same as `kto-tui`."""

import sys

from kto_tui.cli import main

if __name__ == "__main__":
    sys.exit(main())
