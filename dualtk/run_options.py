"""What every run of training has, whatever is trained: modes, passes, masks, data and the loop."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from dualtk.data.fbank import FbankOptions
from dualtk.data.joining import JoiningOptions
from dualtk.data.kinds import FeaturesOptions
from dualtk.data.sampler import BatchesOptions
from dualtk.data.waveform import WaveformOptions
from dualtk.modes import Mode, ModeOptions
from dualtk.options import Section
from dualtk.plan import PassOptions, PassPlan, PlannedPass, SampledSteps
from dualtk.pruning.patterns import parse_pattern, require_reach
from dualtk.pruning.pruner import Pruner, PruningOptions
from dualtk.ssl.network import PretrainingNetwork
from dualtk.train.initial import InitOptions
from dualtk.train.optim import OptimizerOptions, ScheduleOptions
from dualtk.train.stepping import TrainOptions
from dualtk.transducer.model import Transducer


def present(entries: Any) -> Any:
    """Entries of a mapping by name without those that are null, as where one YAML is laid over another."""
    return {k: v for k, v in entries.items() if v is not None} if isinstance(entries, dict) else entries


class RunOptions(Section):
    """A run of training: modes, passes and masks, what it begins with, data, and the loop."""

    format: Literal[2] = 2
    """Of experiment folders; a YAML need not say it."""
    modes: Annotated[dict[str, ModeOptions], Field(min_length=1), BeforeValidator(present)]
    """What the network may see, by name."""
    passes: Annotated[dict[str, PassOptions], Field(min_length=1), BeforeValidator(present)]
    """The runs of the network in each step, by mode."""
    sampled_steps: SampledSteps = 0
    """First steps for which one pass is drawn instead of all (Dual-mode ASR, table 4, row 3); `all`: to the end."""
    pruning: PruningOptions | None = None
    """How masks come about, where a mode is sparse."""
    init: InitOptions | None = None
    """A trained network to begin with."""
    features: FeaturesOptions = FbankOptions()
    """What stage 1 makes of audio."""
    waveform: WaveformOptions | None = None
    """What training does to audio, in every epoch anew; null: the stored features are read."""
    joining: JoiningOptions | None = None
    """Utterances that training reads as one, with pauses between them."""
    batches: BatchesOptions = BatchesOptions()
    """How utterances become batches."""
    optimizer: OptimizerOptions = OptimizerOptions()
    """The optimiser."""
    schedule: ScheduleOptions
    """The learning rate of each step."""
    train: TrainOptions = TrainOptions()
    """The loop."""

    @model_validator(mode="after")
    def _speeds_are_drawn_or_stored(self) -> RunOptions:
        """Audio is read at its own speed."""
        reader = "a section `waveform`" if self.waveform is not None else "features.source audio"
        if (self.waveform is not None or self.features.source == "audio") and self.features.speeds != (1.0,):
            raise ValueError(f"features.speeds: must be [1.0] beside {reader}: use waveform.speeds")
        return self

    @model_validator(mode="after")
    def _passes_run(self) -> RunOptions:
        """Passes run in known modes, masks are complete in time, and something is trained."""
        for name in self.passes:
            if name not in self.modes:
                raise ValueError(f"passes.{name}: is none of the modes: {', '.join(self.modes)}")
        if self.train.max_steps == 0 and self.init is None:
            raise ValueError("train.max_steps: 0 trains nothing, and there is no section `init` that names a network")
        if self.pruning is not None and self.pruning.schedule.settled_step >= max(self.train.max_steps, 1):
            raise ValueError("pruning.schedule: masks are not complete before train.max_steps")
        sparse = [name for name, mode in self.modes.items() if mode.sparsity > 0]
        if sparse and self.pruning is None:
            raise ValueError(f"modes.{sparse[0]}.sparsity: there is no section `pruning`")
        if self.pruning is not None:
            for name in sparse:
                pattern = parse_pattern(self.pruning.pattern)
                require_reach(pattern, self.modes[name].sparsity, f"modes.{name}.sparsity")
            if not sparse:
                raise ValueError("pruning: no mode is sparse")
        if self.pruning is not None and self.pruning.sandwich:
            streaming = [name for name in self.passes if not self.modes[name].full_context]
            if self.sampled_steps or len(streaming) < 4:
                raise ValueError("pruning.sandwich: needs at least four streaming passes, and no sampled_steps")
        return self

    def mode_list(self) -> list[Mode]:
        """The modes, in the order of the YAML."""
        return [options.mode(name) for name, options in self.modes.items()]

    def build_plan(self) -> PassPlan:
        """Which passes a step runs."""
        modes = {mode.name: mode for mode in self.mode_list()}
        passes = [
            PlannedPass(modes[name], one.weight, one.probability, self.modes[name].drawn_modes(name))
            for name, one in self.passes.items()
        ]
        return PassPlan(
            passes,
            sampled_steps=self.sampled_steps,
            sandwich=self.pruning is not None and self.pruning.sandwich,
            seed=self.train.seed,
        )

    def build_pruner(self, network: Transducer | PretrainingNetwork) -> Pruner | None:
        """What draws the masks of sparse modes, where there are any; see `PruningOptions.build`."""
        return None if self.pruning is None else self.pruning.build(network, self.mode_list())

    def unreached(self) -> list[str]:
        """What the run ends too early for, a line each."""
        last = self.train.max_steps
        late = {key: step for key, step in self.starts().items() if last and step >= last}
        return [f"{key}: {step}, but train.max_steps is {last}" for key, step in late.items()]

    def starts(self) -> dict[str, int]:
        """Steps at which something begins, by key."""
        sampled = self.sampled_steps if len(self.passes) > 1 else 0
        noise = self.train.weight_noise
        return {
            **({} if sampled in ("all", 0) else {"sampled_steps": int(sampled)}),
            **({} if noise is None else {"train.weight_noise.start_step": noise.start_step}),
        }
