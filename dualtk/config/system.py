"""The whole configuration of a transducer, and what its sections must agree on."""

from __future__ import annotations

from pydantic import Field, model_validator

from dualtk.config.data import AugmentConfig, SamplesConfig
from dualtk.config.model import ModelConfig, Wav2VecConfig
from dualtk.config.modes import PassConfig
from dualtk.config.objective import EncoderLogitsConfig, LossConfig, TermConfig
from dualtk.config.run import RunConfig
from dualtk.config.section import Count, Probability
from dualtk.config.teacher import TEACHER, FrozenTeacherConfig, SharedDecoderTeacherConfig, TeacherConfig


class Config(RunConfig):
    """Everything that a YAML of `egs/*/*/conf` says of a transducer and its training."""

    model: ModelConfig
    teacher: TeacherConfig | None = None
    sampling: dict[str, Probability] | None = None
    sampling_steps: Count | None = None
    terms: list[TermConfig] = Field(default_factory=list)
    loss: LossConfig
    augment: AugmentConfig | None = None

    @model_validator(mode="after")
    def _names_exist(self) -> Config:
        """Terms and sampling name passes."""
        if self.teacher is not None and TEACHER in self.modes:
            raise ValueError(f"modes.{TEACHER}: that name is taken by the pass of the second network")
        runs = {one.mode for one in self.passes}
        for index, term in enumerate(self.terms):
            self._check_term(f"terms.{index}", term, runs)
        if isinstance(self.model.encoder, Wav2VecConfig) and not isinstance(self.features, SamplesConfig):
            raise ValueError(f"features.kind: the encoder wav2vec hears samples, not {self.features.kind}")
        if isinstance(self.features, SamplesConfig) and self.augment is not None:
            for key in ("frequency_warp", "channel", "num_frequency_masks"):
                if getattr(self.augment, key):
                    raise ValueError(f"augment.{key}: raw samples have no frequencies to change; set it to 0")
        if isinstance(self.teacher, FrozenTeacherConfig) and self.teacher.cache and self.augment is not None:
            raise ValueError("teacher.cache: under augmentation no utterance is heard twice alike; set augment: null")
        if self.sampling is not None and (set(self.sampling) != runs or abs(sum(self.sampling.values()) - 1) > 1e-6):
            given = ", ".join(f"{name} {probability:g}" for name, probability in self.sampling.items())
            raise ValueError(f"sampling: needs one probability for each pass, {sorted(runs)}, with sum 1, not {given}")
        if self.sampling is None and self.sampling_steps is not None:
            raise ValueError("sampling_steps: there is no section `sampling`")
        if self.sampling is not None and self.sampling_steps is None and (self.terms or self.teacher):
            section = "terms" if self.terms else "teacher"
            raise ValueError(
                f"{section}: with sampling one pass runs in a step, so there is nothing to compare it with"
            )
        return self

    def _check_term(self, path: str, term: TermConfig, runs: set[str]) -> None:
        """A term compares passes that there are, in ways that they can be compared."""
        if term.student not in runs:
            raise ValueError(f"{path}.student: no pass runs in mode {term.student}")
        if term.teacher == term.student:
            raise ValueError(f"{path}.teacher: {term.teacher} is the student too")
        if term.teacher == TEACHER and self.teacher is None:
            raise ValueError(f"{path}.teacher: there is no section `{TEACHER}`")
        if term.teacher not in runs | {TEACHER}:
            raise ValueError(f"{path}.teacher: no pass runs in mode {term.teacher}")
        if isinstance(term, EncoderLogitsConfig) and self.model.joiner.name != "additive":
            raise ValueError(f"{path}: encoder_logits needs the additive joiner, not {self.model.joiner.name}")
        if term.teacher == TEACHER and isinstance(self.teacher, FrozenTeacherConfig):
            for key in ("symmetric", "reach_teacher"):
                if getattr(term, key, False):
                    raise ValueError(f"{path}.{key}: a frozen teacher does not learn")

    def idle(self) -> list[str]:
        """See `RunConfig.idle`: terms, joint training and augmentation that would begin after the last step."""
        last = self.train.max_steps
        if last == 0:  # nothing is meant to begin
            return []
        starts = {f"terms.{index}.start_step": term.start_step for index, term in enumerate(self.terms)}
        if self.sampling_steps is not None:
            starts["sampling_steps"] = self.sampling_steps
        if self.augment is not None:
            starts["augment.start_step"] = self.augment.start_step
        return [f"{key}: {step}, but train.max_steps is {last}" for key, step in starts.items() if step >= last]

    def teacher_alone(self) -> Config | None:
        """A teacher that learns beside the student, as a system of its own with the one mode "teacher"."""
        section = self.teacher
        if section is None or isinstance(section, FrozenTeacherConfig):
            return None
        if isinstance(section, SharedDecoderTeacherConfig):
            model = self.model.model_copy(update={"encoder": section.encoder})
        else:
            model = section.model or self.model
        alone = {"model": model, "modes": {TEACHER: section.mode}, "passes": [PassConfig(mode=TEACHER)]}
        return self.model_copy(update={**alone, "terms": [], "teacher": None, "sampling": None, "init": None})
