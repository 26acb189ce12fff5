"""Error rates and latency of a decoded set, and the files that hold them."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dualtk.ctm import Word, read_ctm
from dualtk.data.audio import read_audio
from dualtk.data.kaldi import read_audio_sources
from dualtk.errors import InputError
from dualtk.files import write_text
from dualtk.score.churn import churn, read_partials, total_churn
from dualtk.score.diagnosis import warnings
from dualtk.score.endpoints import FROM_CTM, FROM_ENERGY, Endpoints, endpoints_from_ctm, estimate_endpoints
from dualtk.score.latency import LatencyReport, UtteranceLatency, latency_report, utterance_latencies
from dualtk.score.marks import has_marks, is_unclear
from dualtk.score.read import read_emissions
from dualtk.score.sclite_detail import detail_text, result_text
from dualtk.score.summary import SCORE_FILE, Decoding, summarise
from dualtk.score.table import percent
from dualtk.score.utterances import UTTERANCE_FILE, utterance_table
from dualtk.score.wer import ScoredUtterance, missing_utterances, score_all
from dualtk.tables import json_text, read_json, read_table
from dualtk.trn import shared_rows, trn_text

logger = logging.getLogger("dualtk")

TITLE = "hyp.trn"  # sclite's name for a system is that of its file
PARTIALS = "partials.jsonl"  # what streaming sessions showed on the way, where a decoding kept it
NAMED = 10  # missing utterances that the warning lists


def score_words(data: Path, decode: Path) -> tuple[list[ScoredUtterance], list[str]]:
    """The scored utterances of a set, and those without a hypothesis; writes the files in sclite's formats."""
    refs, hyps = (read_table(one / "text", ordered=False, empty_values=True) for one in (data, decode))
    speakers = read_table(data / "utt2spk", ordered=False)
    for utterance in refs:
        if utterance not in speakers:
            raise InputError(f"{data / 'utt2spk'}: lacks utterance {utterance}")
    scored = score_all(refs, hyps, speakers, str(decode / "text"))
    for row in shared_rows(speakers[utterance] for utterance in refs):
        logger.warning("%s: speakers %s are one row of result.txt, as in sclite", data / "utt2spk", " and ".join(row))
    _remark_marks(data / "text", refs)
    _remark_marks(decode / "text", hyps)
    missing = missing_utterances(refs, hyps, str(decode / "text"))
    if missing:
        names = " ".join(missing[:NAMED]) + (" ..." if len(missing) > NAMED else "")
        logger.warning("%s: no hypothesis for %d utterances, all deletions: %s", decode / "text", len(missing), names)
    write_text(decode / "ref.trn", trn_text(refs, speakers, sorted(refs)))
    write_text(decode / TITLE, trn_text(hyps, speakers, sorted(refs)))
    write_text(decode / "result.txt", result_text(TITLE, scored))
    write_text(decode / "result.dtl.txt", detail_text(TITLE, scored))
    return scored, missing


def _remark_marks(path: Path, texts: Mapping[str, str]) -> None:
    """Say how many texts hold what sclite reads as more than words."""
    marked = [name for name, text in texts.items() if has_marks(text)]
    if marked:
        logger.info(
            "%s: scored as `sclite -D` does: %d of %d texts hold { a / b } (alternatives), (word) (may be left out), "
            "@ (nothing) or word*; the first is %s",
            *(path, len(marked), len(texts), marked[0]),
        )
    unclear = [name for name, text in texts.items() if is_unclear(text)]
    if unclear:
        logger.warning(
            "%s: %d of %d texts hold ; \\ or braces that match none: words here, not so for sclite; the first is %s",
            *(path, len(unclear), len(texts), unclear[0]),
        )


def find_endpoints(
    data: Path, times: dict[str, list[Word]] | None, utterances: Iterable[str]
) -> tuple[str, dict[str, Endpoints], dict[str, list[Word]]]:
    """Source of the end of speech, endpoints, and word times (empty when the endpoints are estimates)."""
    if times is not None:
        return FROM_CTM, endpoints_from_ctm(times), times
    sources = read_audio_sources(data)
    endpoints = {}
    for utterance in utterances:
        if utterance in sources:
            samples, sample_rate = read_audio(sources[utterance])
            endpoints[utterance] = estimate_endpoints(samples.numpy(), sample_rate)
    return FROM_ENERGY, endpoints, {}


def measure_latency(
    scored: Sequence[ScoredUtterance], data: Path, decode: Path, known: dict[str, list[Word]] | None
) -> tuple[LatencyReport, list[UtteranceLatency]]:
    """Latency of the set and of each utterance."""
    emissions = read_emissions(decode / "tokens.jsonl")
    source, endpoints, times = find_endpoints(data, known, (each.utterance for each in scored))
    delays = utterance_latencies(scored, emissions, endpoints, times)
    return latency_report(scored, emissions, endpoints, source, times), delays


def run_scoring(options: argparse.Namespace) -> int:
    """Score by the options of `dualtk score`; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    decoding = read_json(options.decode / "decode.json", Decoding)
    scored, missing = score_words(options.data, options.decode)
    found = warnings(scored)
    for line in found:
        logger.warning("%s: %s", options.decode, line)
    ctm = options.ctm or options.data / "words.ctm"
    times = read_ctm(ctm) if options.ctm or ctm.is_file() else None  # faults are said, whether latency is or not
    latency: LatencyReport | None = None
    delays: list[UtteranceLatency] = []
    if not decoding["full_context"] and not found:
        latency, delays = measure_latency(scored, options.data, options.decode, times)
    partials = options.decode / PARTIALS
    taken_back = total_churn(map(churn, read_partials(partials).values())) if partials.is_file() else None
    summary = summarise(
        scored, missing, latency, taken_back, decoding, str(options.data), options.replicates, options.seed
    )
    summary["warnings"] = found
    write_text(options.decode / UTTERANCE_FILE, utterance_table(scored, delays))
    write_text(options.decode / SCORE_FILE, json_text(summary))
    counts = summary["wer"]["counts"]
    errors = ", ".join(f"{counts[kind]} {kind}" for kind in ("substitutions", "deletions", "insertions"))
    logger.info("%s: WER %s %% (%s)", options.decode, percent(summary["wer"]["rate"]), errors)
    return 0
