"""dualtk: streaming and full-context speech recognition with one set of weights."""

__version__ = "0.1.0"
