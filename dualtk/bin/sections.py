"""The sections of a configuration that stages 1 and 2 read."""

from __future__ import annotations

import argparse
from typing import Any

from dualtk.config import validate_layered
from dualtk.data.fbank import FbankOptions
from dualtk.data.kinds import FeaturesOptions
from dualtk.data.tokens import TokenOptions
from dualtk.errors import InputError
from dualtk.options import Section
from dualtk.system import load
from dualtk.yaml_tree import Layered


class _Sections(Section):
    """What stages 1 and 2 read of a configuration."""

    features: FeaturesOptions = FbankOptions()
    """What stage 1 makes of audio."""
    tokens: TokenOptions = TokenOptions()
    """What stage 2 makes of transcripts."""


def read_section(options: argparse.Namespace, name: str) -> Any:
    """The section `features` or `tokens` of the configuration, or, without --config, of --set alone.

    Raises:
        InputError: a key at fault; without --config, one of another section.
    """
    if options.config is not None:
        return getattr(load(options.config, options.size, options.set), name)
    layered = Layered()
    for override in options.set:
        layered.change(override)
        if list(layered.tree) != [name]:
            raise InputError(f"--set {override}: without --config there is only the section {name}")
    return getattr(validate_layered(_Sections, layered), name)
