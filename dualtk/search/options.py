"""How to search: over which output, greedily or with a beam, within which limits, with which language models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from dualtk.errors import InputError
from dualtk.options import Section, Unit

if TYPE_CHECKING:  # the options alone are read without torch
    import torch

    from dualtk.search.ctc import CTCGreedySearch
    from dualtk.search.greedy import Search
    from dualtk.search.hotwords import Hotwords
    from dualtk.search.language_model import LanguageModel
    from dualtk.transducer.model import Transducer

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class LanguageModels:
    """The language models that `SearchOptions` name, read once for any number of searches."""

    lm: LanguageModel[Any] | None
    source_lm: LanguageModel[Any] | None


PATHS = {"lm": "lm_weight", "source_lm": "source_lm_weight", "hotwords": "hotwords_score"}  # and what only they need


class SearchOptions(Section):
    """The search for the labels of an utterance."""

    head: Literal["transducer", "ctc"] = "transducer"
    """Output that is searched; ctc is the head beside the transducer, for a network trained with one."""
    beam: PositiveInt = 1
    """Hypotheses to keep, 1 for greedy search."""
    max_symbols: Annotated[PositiveInt, Unit("labels")] = 5
    """Labels that one encoder frame may emit."""
    max_length: Annotated[NonNegativeInt, Unit("labels")] | None = None
    """Labels that one utterance may have, after which all frames emit blank."""
    lm: Path | None = None
    """A language model over the same tokens, for shallow fusion with a beam of at least 2: an n-gram model in ARPA
    format, or a folder of `dualtk train-lm`."""
    lm_weight: float = 0.3
    """The weight of the language model."""
    source_lm: Path | None = None
    """A language model of the text that the network was trained on, which is subtracted (density ratio)."""
    source_lm_weight: NonNegativeFloat = 0.1
    """What it is multiplied with before that."""
    internal_lm_weight: NonNegativeFloat = 0.0
    """The weight with which the network's own language model, estimated without audio, is subtracted."""
    length_reward: float = 0.0
    """Reward of each token, as a natural logarithm: language models make long hypotheses dear."""
    hotwords: Path | None = None
    """A file of words to prefer, `WORD [WORD ...] [:REWARD]` a line."""
    hotwords_score: float = 1.5
    """Reward of each token of a hotword, as a natural logarithm."""

    @model_validator(mode="after")
    def _weighs_what_is_there(self) -> SearchOptions:
        """A weight of nothing was meant for something. (Hotwords may come with a stream.)"""
        for key in ("lm", "source_lm"):
            weight = PATHS[key]
            if getattr(self, key) is None and getattr(self, weight) != type(self).model_fields[weight].default:
                raise ValueError(f"{weight}: is for {key}, and there is none")
        return self

    def read_models(self, pieces: Sequence[str], device: torch.device) -> LanguageModels:
        """The language models, for searches over tokens `pieces` (blank first) of a network on `device`.

        Raises:
            InputError: one that cannot be read, or one of other tokens, or a search that does not consult them.
        """
        self._require_beam()
        return LanguageModels(*(_read(path, pieces, device) for path in (self.lm, self.source_lm)))

    def build(
        self,
        network: Transducer,
        pieces: Sequence[str],
        encode: Encode | None = None,
        more_hotwords: Sequence[str] = (),
        models: LanguageModels | None = None,
    ) -> Search[Any]:
        """The search over the labels of `network`.

        Args:
            network: whose labels they are.
            pieces: its tokens, blank first.
            encode: text to tokens, which hotwords need.
            more_hotwords: lines as those of the file `hotwords`.
            models: what `read_models` gave; None: they are read.

        Raises:
            InputError: a language model without a beam, or one that cannot be read, hotwords that cannot be spelt, or
                a CTC head that is not there or that is asked for a beam, hotwords or language models.
        """
        # Only here: torch comes with them.
        from dualtk.search.beam import BeamSearch
        from dualtk.search.fusion import Fusion, WeightedModel
        from dualtk.search.greedy import GreedySearch
        from dualtk.search.hypothesis import Limits

        self._require_beam()
        hotwords = self._hotwords(encode, more_hotwords, len(pieces))
        if self.head == "ctc":
            if hotwords is not None:
                raise InputError("--head ctc: is searched without hotwords")
            return self._ctc(network)
        limits = Limits(self.max_symbols, self.max_length)
        if self.beam == 1:
            return GreedySearch(network.predictor, network.joiner, limits, hotwords)
        models = models or self.read_models(pieces, network.feature_mean.device)
        weighted = [WeightedModel(models.lm, self.lm_weight)] if models.lm is not None else []
        weighted += [WeightedModel(models.source_lm, -self.source_lm_weight)] if models.source_lm is not None else []
        weighted += [WeightedModel(hotwords, 1.0)] if hotwords is not None else []
        used = [one for one in weighted if one.weight]
        fusion = Fusion(used, self.internal_lm_weight, self.length_reward)
        return BeamSearch(network.predictor, network.joiner, self.beam, limits, None if fusion.is_empty else fusion)

    def _require_beam(self) -> None:
        """Refuse what only a beam search consults without one.

        Raises:
            InputError: names the first such option.
        """
        given = {
            "--lm": self.lm is not None,
            "--source-lm": self.source_lm is not None,
            "--internal-lm-weight": self.internal_lm_weight,
            "--length-reward": self.length_reward,
        }
        asked = next((name for name, value in given.items() if value), None)
        if asked is not None and self.head == "ctc":
            raise InputError(f"--head ctc: is searched without {asked}")
        if asked is not None and self.beam == 1:
            raise InputError(f"{asked}: needs a --beam of at least 2, greedy search does not consult it")

    def _hotwords(self, encode: Encode | None, more: Sequence[str], vocab_size: int) -> Hotwords | None:
        if self.hotwords is None and not more:
            return None
        from dualtk.search.hotwords import Hotwords, parse_hotwords, read_hotwords

        assert encode is not None
        words = [] if self.hotwords is None else read_hotwords(self.hotwords, encode, self.hotwords_score)
        return Hotwords([*words, *parse_hotwords(more, encode, self.hotwords_score, "hotwords")], vocab_size)

    def _ctc(self, network: Transducer) -> CTCGreedySearch:
        if self.beam > 1:
            raise InputError("--head ctc: is searched greedily, not with --beam")
        from dualtk.search.ctc import CTCGreedySearch
        from dualtk.transducer.ctc import required_head

        return CTCGreedySearch(required_head(network.ctc))

    def facts(self) -> dict[str, object]:
        """What decode.json says of the search."""
        facts: dict[str, object] = self.model_dump()
        for key, weight in PATHS.items():
            path = getattr(self, key)
            facts |= {key: None, weight: None} if path is None else {key: path.name}
        greedy = "ctc greedy" if self.head == "ctc" else "greedy"
        return {"name": greedy if self.beam == 1 else "beam", **facts}


def _read(path: Path | None, pieces: Sequence[str], device: torch.device) -> LanguageModel[Any] | None:
    if path is None:
        return None
    from dualtk.lm.folder import read_neural_model
    from dualtk.search.language_model import read_arpa

    return read_neural_model(path, pieces, device) if path.is_dir() else read_arpa(path, pieces)
