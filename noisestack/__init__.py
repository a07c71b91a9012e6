"""The command line, and what every edge shares: configs, exit codes and the Ray session."""

from noisestack.own_packages import come_first

__version__ = "0.1.0"

# Here, since `pipeline` and `jobs` are imported by the first module that needs them.
come_first()
