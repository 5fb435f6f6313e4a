"""Home of the version that a node tells its users."""

import platform

VERSION = "0.1.0"
CLIENT_VERSION = f"Lyceum/v{VERSION}/{platform.system().lower()}-{platform.machine()}/python{platform.python_version()}"
