"""The version, alone: what needs it need not import the public face."""

__version__ = "0.1.0"
