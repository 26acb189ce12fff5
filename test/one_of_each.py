"""Systems of a few hundred weights that have every block between them, and other values for their fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from dualtk.options import Section
from dualtk.system import PretrainingSystem, TransducerSystem

# Laid under each system: three steps, a line of the log each, and a validation.
COMMON = """
features: {num_mels: 8}
batches: {max_frames: 60, max_utterance_frames: 200, cache: true}
optimizer: {name: adamw, weight_decay: 0.1}
train: {max_steps: 3, validate_every: 3, save_every: 2, log_every: 1, average_best: 1, clip_norm: 1.0}
"""
DUAL = """
model:
  encoder: {name: conformer, dim: 8, num_layers: 1, num_heads: 2, feedforward_dim: 8, kernel: 3, dropout: 0.1,
            subsampling_channels: 6}
  predictor: {name: stateless, dim: 8, dropout: 0.1}
  joiner: {name: tanh, joiner_dim: 8}
modes: {full: {full_context: true}, streaming: {left_context: 1, chunk: 2, look_ahead_ms: 20}}
passes: {full: {weight: 0.5}, streaming: {weight: 0.5}}
sampled_steps: 1
terms: {three_way: {student: streaming, teacher: full, start_step: 1, warmup_steps: 2}}
loss: {name: pruned, prune_range: 2, warmup_steps: 4, fastemit_lambda: 0.01, delay_penalty: 0.01, am_scale: 0.1}
ctc: {final_weight: 0.1, decay_steps: 3}
augment: {start_step: 1, frequency_warp: 0.1, channel: 0.2, frequency_width: 4, num_time_masks: 4, time_width: 6,
          time_fraction: 0.5, time_rate: 0.1}
schedule: {name: cosine, lr: 0.01, warmup_steps: 1}
"""
CODERT = """
model:
  encoder: {name: lstm, dim: 8, num_layers: 3, dropout: 0.1, stacking: 2, time_reduction: 2, time_reduction_layer: 1,
            projection_dim: 6}
  predictor: {name: lstm, embedding_dim: 6, dim: 6, projection_dim: 5, dropout: 0.1}
  joiner: {name: additive}
modes: {full: {full_context: true}, streaming: {}}
passes: {full: {}, streaming: {}}
teacher:
  name: shared_decoder
  encoder: {name: lstm, dim: 10, num_layers: 3, dropout: 0.1, stacking: 2, time_reduction: 2, time_reduction_layer: 1,
            projection_dim: 9}
  mode: {}
terms: {encoder_logits: {student: streaming, teacher: teacher, weight: 0.1, top_k: 9}}
loss: {name: exact, fastemit_lambda: 0.01, delay_penalty: 0.01}
optimizer: {name: adam}
schedule: {name: hold, initial: 0.001, lr: 0.01, final: 0.0001, warmup_steps: 1, hold_steps: 0, final_step: 4}
"""
TRANSFORMER = """
model:
  encoder: {name: transformer, dim: 8, num_layers: 1, num_heads: 2, feedforward_dim: 8, subsampling: convolution,
            subsampling_factor: 4, subsampling_channels: 6}
  predictor: {name: stateless, dim: 8}
  joiner: {name: tanh, joiner_dim: 8}
modes: {full: {full_context: true}}
passes: {full: {}}
loss: {name: exact}
schedule: {name: transformer, lr: 0.01, warmup_steps: 2}
"""
HIDDEN = """
base: transformer.yaml
modes:
  streaming: {left_context: 1, drawn: [{left_context: 2, chunk: 2}, {left_context: 1, chunk: 4, probability: 2.0}]}
passes: {streaming: {}}
teacher: {name: frozen, exp: exp/first, mode: full}
terms:
  hidden: {student: streaming, teacher: teacher, weight: 0.1}
  heads: {student: streaming, teacher: teacher, weight: 0.1}
  full_kl: {student: streaming, teacher: teacher, weight: 0.1}
"""
CONTEXTNET = """
base: transformer.yaml
model: {encoder: {name: contextnet, alpha: 0.03125, layers_per_block: 1, dropout: 0.1}}
"""
SEPARATE = """
model:
  encoder: {name: lstm, dim: 8, num_layers: 1, stacking: 8, time_reduction: 1}
  predictor: {name: stateless, dim: 8}
  joiner: {name: tanh, joiner_dim: 8}
modes: {full: {full_context: true}, streaming: {}}
passes: {full: {}, streaming: {}}
teacher:
  name: separate
  model:
    encoder: {name: transformer, dim: 8, num_layers: 1, num_heads: 2, feedforward_dim: 8, subsampling: convolution,
              subsampling_factor: 8, subsampling_channels: 6}
    predictor: {name: stateless, dim: 8}
    joiner: {name: tanh, joiner_dim: 8}
  mode: {left_context: 1, chunk: 2}
ctc: {}
terms: {ctc_consistency: {student: streaming, teacher: teacher, weight: 0.1}}
loss: {name: exact}
schedule: {name: cosine, lr: 0.01, warmup_steps: 1}
"""
SUPERNET = """
base: transformer.yaml
modes:
  full: {full_context: true}
  a: {}
  b: {sparsity: 0.3}
  c: {sparsity: 0.5}
  d: {sparsity: 0.7}
passes: {full: {}, a: {}, b: {}, c: {}, d: {}}
pruning: {pattern: 2x1, schedule: {shape: linear, end_step: 2, initial: 0.3}}
schedule: {name: cosine, lr: 0.1, warmup_steps: 0}
"""
PRETRAIN = """
features: {kind: samples, num_mels: null}
model:
  encoder: {name: wav2vec, dim: 8, num_layers: 1, num_heads: 2, feedforward_dim: 8, dropout: 0.1, channels: 4,
            kernels: [10, 8, 4, 4], strides: [5, 8, 4, 2], positions: convolution, position_kernel: 4,
            position_groups: 2}
modes: {full: {full_context: true}, streaming: {left_context: 2}}
passes: {full: {}, streaming: {}}
pretraining:
  target_dim: 6
  masking: {probability: 0.2, length: 2}
  quantizer: {groups: 2, entries: 4, codebook_dim: 6}
  temperature: {end: 0.9, decay: 0.5}
  contrast: {num_distractors: 2}
schedule: {name: cosine, lr: 0.01, warmup_steps: 1}
"""
FINETUNE = """
base: pretrain.yaml
pretraining: null
model:
  encoder: {latent_masks: {time_probability: 0.2, time_width: 2, channel_probability: 0.2, channel_width: 2}}
  predictor: {name: stateless, dim: 8}
  joiner: {name: tanh, joiner_dim: 8}
loss: {name: exact}
init: {exp: exp/pretrained, freeze: [{module: encoder.extractor, steps: 1}]}
train: {weight_noise: {std: 0.1, start_step: 1, modules: [encoder]}}
schedule: {name: linear, lr: 0.01, final: 0.001, warmup_steps: 1}
"""
VARIED = """
base: transformer.yaml
batches: {max_frames: 200}
waveform: {room: {probability: 0.5}, noise: {}, telephone: {probability: 0.5, mu_law: 0.0}}
joining: {probability: 0.5, most: 2, pause: [0.02, 0.05]}
"""


TEXTS = {
    "dual": DUAL,
    "codert": CODERT,
    "transformer": TRANSFORMER,
    "hidden": HIDDEN,
    "contextnet": CONTEXTNET,
    "separate": SEPARATE,
    "supernet": SUPERNET,
    "pretrain": PRETRAIN,
    "finetune": FINETUNE,
    "varied": VARIED,
}
CORPORA = {"pretrain": "samples", "finetune": "samples", "varied": "audio"}  # others read "fbank"

# Sections of a system whose fields have to do nothing there.
IDLE = {("codert", "teacher.mode")}  # an LSTM sees the past, whatever the mode

# Another value of a field, by its path, by its class and name, or by name alone; `{section}` is the path of its
# section. Fields that may not change alone bring others along.
CHANGES: dict[str, str | list[str]] = {
    "activation": "tanh",
    "backend": "torch",
    "betas": "[0.8, 0.9]",
    "channel_probability": "0.7",
    "codebook_dim": "8",
    "convolution_norm": "layer",
    "decay_steps": "2",
    "dim": "12",
    "direct": "[-5.0, 0.0]",
    "distance": "cosine",
    "end_step": "1",
    "entries": "6",
    "exp": "exp/second",
    "extractor_norm": "group",
    "final_weight": "0.4",
    "groups": "3",
    "kernel": "5",
    "kernels": "[10, 8, 4, 6]",
    "left_context": "3",
    "look_ahead_ms": "50",
    "max_frames": "90",
    "max_utterance_frames": "20",
    "max_valid_utterances": "1",
    "mode": "other",
    "module": "encoder.stack",
    "modules": "[predictor]",
    "most": "4",
    "num_buckets": "1",
    "num_heads": "4",
    "pattern": "unstructured",
    "pause": "[0.06, 0.09]",
    "position_groups": "4",
    "positions": "none",
    "precision": "bfloat16",
    "probability": "0.4",
    "projection_dim": "7",
    "reduction": "sum",
    "reverberation": "[0.7, 0.9]",
    "scope": "global",
    "shape": "cubic",
    "snr": "[0.0, 4.0]",
    "sparsity": "0.4",
    "speeds": "[0.8, 1.2]",
    "strided_blocks": "[3, 7, 15]",
    "strides": "[5, 8, 4, 4]",
    "student": "full",
    "subsampling": "stacking",
    "subsampling_factor": "8",
    "teacher": "full",
    "time_probability": "0.7",
    "time_rate": "null",
    "time_width": "2",
    "top_k": "3",
    "validate_every": "2",
    "warmup_steps": "3",
    "weighting": "teacher",
    "AdditiveJoinerOptions.scale": "3.0",
    "DrawnContextOptions.probability": "1000",
    "ContextNetOptions.kernel": "3",
    "InitOptions.exp": "exp/pretrained_second",
    "JoiningOptions.probability": "1.0",
    "LSTMOptions.stacking": ["{section}.stacking=4", "{section}.time_reduction=1"],
    "LSTMOptions.time_reduction": ["{section}.time_reduction=1", "{section}.stacking=4"],
    "LatentMaskOptions.time_width": "3",
    "NoiseOptions.probability": "1.0",
    "OptimizerOptions.name": "adam",
    "PassOptions.probability": "1000",
    "RoomOptions.probability": "1.0",
    "TelephoneOptions.mu_law": "1.0",
    "TelephoneOptions.probability": "1.0",
    "ThreeWayOptions.student": ["{section}.student=full", "{section}.teacher=streaming"],
    "ThreeWayOptions.teacher": ["{section}.student=full", "{section}.teacher=streaming"],
    "Wav2VecOptions.positions": [
        "{section}.positions=rotary",
        "{section}.position_kernel=128",
        "{section}.position_groups=16",
    ],
    "modes.streaming.full_context": ["modes.streaming={{full_context: true}}"],
    "teacher.mode.full_context": ["teacher.mode={{full_context: true}}"],
    "teacher.model.encoder.subsampling_factor": [
        "teacher.model.encoder.subsampling_factor=4",
        "model.encoder.stacking=4",
    ],
}
# What has to be so, before the field is changed and after it, for the field to mean anything.
CONTEXTS: dict[str, list[str]] = {
    "AdditiveJoinerOptions.scale": ["model.joiner.activation=tanh", "model.joiner.scale=2.0"],
    "BatchesOptions.cache": ["batches.num_workers=0"],
    "BatchesOptions.num_workers": ["batches.cache=false", "train.max_steps=2"],
    "PassOptions.probability": ["sampled_steps=3"],
    "TrainOptions.average_best": ["train.validate_every=1"],
}
# Fields whose trace is elsewhere, and where.
ELSEWHERE = {
    "TrainOptions.max_bad_steps": "test/train/test_loop_fields.py",
    "TrainOptions.least_steps": "test/train/test_loop_fields.py",
    "BatchesOptions.shard_window": "test/data/test_windows.py",
    **dict.fromkeys(("NoiseOptions.data", "RoomOptions.data"), "test/data/test_waveform.py"),
    **dict.fromkeys(("FbankOptions", "SampleOptions", "TokenOptions"), "what the first stages make, below"),
}


@dataclass(frozen=True)
class Field:
    """A field of an options class at its place in a system.

    Attributes:
        section: path of the section that it is in.
        owner: the options class.
        name: of the field.
        value: that it has.
        place: its path, without the names that users give.
    """

    section: str
    owner: type[Section]
    name: str
    value: Any
    place: str

    @property
    def key(self) -> str:
        """Of `CHANGES`, `CONTEXTS` and `ELSEWHERE`."""
        return f"{self.owner.__name__}.{self.name}"

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}".lstrip(".")

    @property
    def is_tag(self) -> bool:
        """Whether it only says which class its section is of."""
        annotation = self.owner.model_fields[self.name].annotation
        return get_origin(annotation) is Literal and len(get_args(annotation)) == 1


def fields_of(section: Section, path: str = "", place: str = "") -> Iterator[Field]:
    """The fields of a section, and of all inside it, that are no sections themselves."""
    for name, value in section:
        inside, there = f"{path}.{name}".lstrip("."), f"{place}.{name}"
        if isinstance(value, Section):
            yield from fields_of(value, inside, there)
        elif isinstance(value, dict):
            for key, one in value.items():
                yield from fields_of(one, f"{inside}.{key}", f"{there}.*")
        elif isinstance(value, list):
            for index, one in enumerate(value):
                yield from fields_of(one, f"{inside}.{index}", f"{there}.*")
        elif value is not None or not sections_in(type(section).model_fields[name].annotation):
            yield Field(path, type(section), name, value, there)


def sections_in(annotation: Any) -> set[type[Section]]:
    """The options classes that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return {annotation}
    return {one for inside in get_args(annotation) for one in sections_in(inside)}


def sections_of_systems() -> set[type[Section]]:
    """The options classes that a system may have in it."""
    waiting: list[type[Section]] = [TransducerSystem, PretrainingSystem]
    found: set[type[Section]] = set()
    while waiting:
        for info in waiting.pop().model_fields.values():
            new = sections_in(info.annotation) - found
            found |= new
            waiting += new
    return found


def says_nothing(system: str, one: Field) -> bool:
    """Whether a field can have no other value at this place, or no other meaning."""
    full = one.path.startswith("modes.full.") and one.name != "full_context"
    dense = one.name == "sparsity" and one.value == 0.0  # there is a system with sparse modes
    absent = one.value is None and not {one.path, one.key, one.name} & CHANGES.keys()
    return one.is_tag or full or dense or absent or (system, one.section) in IDLE


def change(one: Field) -> list[str]:
    """Overrides that give a field another value."""
    other = next((CHANGES[key] for key in (one.path, one.key, one.name) if key in CHANGES), None)
    if isinstance(other, list):
        return [override.format(section=one.section) for override in other]
    if other is None:
        assert isinstance(one.value, bool | int | float), f"{one.key}: say in CHANGES what it may be, not {one.value!r}"
        other = _another(one.value)
    return [f"{one.path}={other}"]


def _another(value: float) -> str:
    if isinstance(value, bool):
        return str(not value).lower()
    return str(value + 1) if isinstance(value, int) else f"{value * 0.5 + 0.013}"
