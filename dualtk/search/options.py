"""How to search: over which output, greedily or with a beam, within which limits, with which language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from dualtk.errors import InputError
from dualtk.options import Section, Unit

if TYPE_CHECKING:
    from dualtk.search.ctc import CTCGreedySearch
    from dualtk.search.greedy import Search
    from dualtk.search.hotwords import Hotwords
    from dualtk.transducer.model import Transducer

Encode = Callable[[str], list[int]]


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
    """An n-gram model over tokens, in ARPA format, for shallow fusion with a beam of at least 2."""
    lm_weight: float = 0.3
    """The weight of the language model."""
    hotwords: Path | None = None
    """A file of words to prefer, `WORD [WORD ...] [:REWARD]` a line."""
    hotwords_score: float = 1.5
    """Reward of each token of a hotword, as a natural logarithm."""

    def build(
        self,
        network: Transducer,
        pieces: Sequence[str],
        encode: Encode | None = None,
        more_hotwords: Sequence[str] = (),
    ) -> Search[Any]:
        """The search over the labels of `network`.

        Args:
            network: whose labels they are.
            pieces: its tokens, blank first.
            encode: text to tokens, which hotwords need.
            more_hotwords: lines as those of the file `hotwords`.

        Raises:
            InputError: a language model without a beam, or one that cannot be read, hotwords that cannot be spelt, or
                a CTC head that is not there or that is asked for a beam or hotwords.
        """
        # Only here: torch comes with them, and the options alone are read without it.
        from dualtk.search.beam import BeamSearch
        from dualtk.search.greedy import GreedySearch
        from dualtk.search.hypothesis import Limits
        from dualtk.search.language_model import Fusion, read_arpa
        from dualtk.search.several_models import fused

        hotwords = self._hotwords(encode, more_hotwords, len(pieces))
        if self.head == "ctc":
            if hotwords is not None:
                raise InputError("--head ctc: is searched without hotwords")
            return self._ctc(network)
        limits = Limits(self.max_symbols, self.max_length)
        if self.lm is not None and self.beam == 1:
            raise InputError("--lm: needs a --beam of at least 2, greedy search does not consult it")
        if self.beam == 1:
            return GreedySearch(network.predictor, network.joiner, limits, hotwords)
        models = [] if self.lm is None else [Fusion(read_arpa(self.lm, pieces), self.lm_weight)]
        models += [] if hotwords is None else [Fusion(hotwords, 1.0)]
        return BeamSearch(network.predictor, network.joiner, self.beam, limits, fused(models))

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
        for key, weight in (("lm", "lm_weight"), ("hotwords", "hotwords_score")):
            path = getattr(self, key)
            facts |= {key: None, weight: None} if path is None else {key: path.name}
        greedy = "ctc greedy" if self.head == "ctc" else "greedy"
        return {"name": greedy if self.beam == 1 else "beam", **facts}
