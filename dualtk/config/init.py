"""The section `init`: a trained network from which another begins."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from dualtk.config.section import Section, Size


class FreezeConfig(Section):
    """A part of the network, such as `encoder.extractor`, that first stays as it was loaded, all of it.

    `steps` is how long; null is to the end. Parts may lie inside each other: a parameter waits for the longest. Only
    parameters are held: the statistics of batch norms in the part follow the data all the while.
    """

    module: str = Field(min_length=1)
    steps: Size | None = None


class InitConfig(Section):
    """Tensors to begin with: of the experiment folder `exp`, or of a file in torchaudio's wav2vec2 names.

    Such a file is safetensors, or what `torch.save(model.state_dict(), file)` wrote.

    Every tensor whose name and shape fit is taken, once, before the first step; see `dualtk.train.initial`.
    """

    exp: Path
    freeze: list[FreezeConfig] = Field(default_factory=list)

    @model_validator(mode="after")
    def _each_part_once(self) -> InitConfig:
        modules = [part.module for part in self.freeze]
        for index, module in enumerate(modules):
            if module in modules[:index]:
                raise ValueError(f"freeze.{index}.module: {module} is there twice")
        return self
