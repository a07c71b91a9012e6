"""The command line, and what every edge shares: configs, exit codes and the Ray session."""

__version__ = "0.1.0"
