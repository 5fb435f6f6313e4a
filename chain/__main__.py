"""`python -m chain`: a full node, or one client command."""

import sys

from chain.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
