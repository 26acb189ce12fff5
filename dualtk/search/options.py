"""How to search: over which output, greedily or with a beam, within which limits, with which language model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from dualtk.errors import InputError
from dualtk.options import Section, Unit
from dualtk.search.beam import BeamSearch
from dualtk.search.ctc import CTCGreedySearch
from dualtk.search.greedy import GreedySearch, Search
from dualtk.search.hypothesis import Limits
from dualtk.search.language_model import Fusion, read_arpa
from dualtk.transducer.ctc import required_head
from dualtk.transducer.model import Transducer


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

    def build(self, network: Transducer, pieces: Sequence[str]) -> Search[Any]:
        """The search over the labels of `network`; `pieces` are its tokens, blank first.

        Raises:
            InputError: a language model without a beam, or one that cannot be read, or a CTC head that is not there or
                that is asked for a beam.
        """
        if self.head == "ctc":
            return self._ctc(network)
        limits = Limits(self.max_symbols, self.max_length)
        if self.lm is not None and self.beam == 1:
            raise InputError("--lm: needs a --beam of at least 2, greedy search does not consult it")
        if self.beam == 1:
            return GreedySearch(network.predictor, network.joiner, limits)
        fusion = None if self.lm is None else Fusion(read_arpa(self.lm, pieces), self.lm_weight)
        return BeamSearch(network.predictor, network.joiner, self.beam, limits, fusion)

    def _ctc(self, network: Transducer) -> CTCGreedySearch:
        if self.beam > 1:
            raise InputError("--head ctc: is searched greedily, not with --beam")
        return CTCGreedySearch(required_head(network.ctc))

    def facts(self) -> dict[str, object]:
        """What decode.json says of the search."""
        lm = {"lm": None, "lm_weight": None} if self.lm is None else {"lm": self.lm.name}
        greedy = "ctc greedy" if self.head == "ctc" else "greedy"
        return {"name": greedy if self.beam == 1 else "beam", **self.model_dump(), **lm}
