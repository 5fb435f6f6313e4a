"""Home of what all tests share: hypothesis without deadlines, and the same examples in every run of CI."""

import os

from hypothesis import settings

settings.register_profile("lyceum", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("lyceum")
