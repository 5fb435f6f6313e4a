"""`python -m chain`: a full node, or one client command."""

import os
import sys

# One thread each for the libraries below numpy: their pools fight with ours over the same cores.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from chain.cli.main import main  # noqa: E402  # numpy reads these variables when it is imported

if __name__ == "__main__":
    sys.exit(main())
