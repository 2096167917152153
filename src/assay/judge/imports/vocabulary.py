"""What people call their columns: metric, statistic, fact of the set-up, ratio. It refuses ambiguous names.

The patterns are tried in order, and the first that is found in the name decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from assay.core.metrics import METRICS
from assay.judge.imports.numbers import plain
from assay.judge.imports.units import Unit, from_base, unit_of

Statistic = Literal["value", "mean", "median", "std", "error", "minimum", "maximum", "p90", "p99", "other", "samples"]
Kind = Literal["metric", "fact", "statistic", "ratio", "label", "metric_name", "value", "unit", "ignore", "unknown"]


@dataclass(frozen=True)
class Role:
    """What a column is. A `statistic` column belongs to a metric that another word of the table names."""

    kind: Kind
    name: str = ""
    """Of a metric in `core.metrics`, or of a fact in `core.figures.FACTS`."""
    statistic: Statistic = "value"
    unit: Unit | None = None
    expected: bool = False
    """True for a column of expected values beside measured ones."""
    said: str = ""
    """The header without markup."""


_STATISTICS: tuple[tuple[Statistic, str], ...] = (
    ("std", r"std( ?dev(iation)?)?|stddev|stdev|s\.d\.|sd|sigma|standard deviation|σ"),
    ("error", r"sem|stderr|std ?err(or)?|standard error"),
    ("p90", r"p90|90th( percentile)?"),
    ("p99", r"p99|99th( percentile)?"),
    ("other", r"p(5|10|25|75|95|999)|(5|25|75|95)th( percentile)?|iqr|variance|var|cv|total time of all"),
    ("median", r"median|p50|50th( percentile)?|med"),
    ("minimum", r"min(imum)?|best|lowest|fastest"),
    ("maximum", r"max(imum)?|worst|highest|slowest"),
    ("mean", r"mean|avg|average|μ|mean value"),
)
EXPECTED = re.compile(
    r"\b(expected|target|targets|theoretical|theory|predicted|projected|hoped|goal|goals|ideal|estimated|estimate|"
    r"published|paper|claimed|reference values?|roofline|should be|anticipated)\b"
)
_RATIO = re.compile(
    r"\bspeed[ -]?ups?\b|\bsaving|\breduction\b|\brelative\b|\bratio\b|\bvs\.? |^vs\b|\bimprovement\b|\bfaster\b|"
    r"\bslow ?down\b|^×$|^x$|\bgain\b|compression"
)

_METRICS: tuple[tuple[str, str], ...] = (
    # name with unit class, pattern; the unit class is `core.metrics`' unit
    (
        "operations_ane",
        (
            r"\b(ane|neural engine|npu) (ops|operations|layers|nodes)|(ops|operations) (on )?(the )?(ane|"
            r"neural engine|npu)"
        ),
    ),
    ("operations_gpu", r"\bgpu (ops|operations|layers|nodes)|(ops|operations) (on )?(the )?gpu"),
    ("operations_cpu", r"\bcpu (ops|operations|layers|nodes)|(ops|operations) (on )?(the )?cpu"),
    ("ttft_s", r"\bttft\b|time to first( token)?|first token"),
    (
        "tpot_s",
        (
            r"\btpot\b|\bitl\b|inter ?token|time per( output)? token|per token latency|latency per token|"
            r"token latency|ms per token|\bper token\b"
        ),
    ),
    ("acceptance_rate", r"acceptance|accept(ed)? (rate|tokens)"),
    ("bits_per_weight", r"bits (per|/) ?(weight|param)|\bbpw\b"),
    ("kl_nats", r"\bkld?\b|kl[ -]?div"),
    ("top1_agreement", r"top ?-?1 (agreement|match)|token (match|agreement)|same top|agreement"),
    ("psnr_db", r"\bpsnr\b"),
    (
        "max_logit_difference",
        (r"max(imum)? (abs(olute)? )?(logit )?(diff|difference|error|err)\b|max (logit|abs)"),
    ),
    ("perplexity", r"\bppl\b|perplexity"),
    ("nll_nats", r"\bnll\b|cross ?entropy|\bloss\b|log ?likelihood"),
    ("accuracy", r"\bacc(uracy)?\b|exact match|pass@1|\bf1\b"),
    ("mfu", r"\bmfu\b"),
    ("mbu", r"\bmbu\b"),
    ("utilisation", r"utili[sz]ation|\butil\b|gpu ?%|residency"),
    ("power_w", r"\bpower\b|\bwatts?\b|power draw"),
    ("energy_j", r"\benergy\b|\bjoules?\b"),
    ("compile_s", r"\bcompil(e|ation)( time)?\b|conversion|\bconvert"),
    ("load_s", r"\bload(ing)?( model)?( time)?\b"),
    ("first_call_s", r"first (call|run|inference|iteration|step|prediction)|cold( start)?|warm ?-?up( time)?\b"),
    ("forward_s", r"\bfwd\b|\bforward\b"),
    ("backward_s", r"\bbwd\b|\bbackward\b"),
    ("optimizer_step_s", r"optimi[sz]er|\boptim\b|\bopt step\b"),
    (
        "train_step_s",
        (
            r"train(ing)? (step|time|iteration)|\bstep time\b|full step|iteration time|\bfwd ?(\+|and|&) ?bwd|"
            r"forward ?(\+|and|&) ?backward"
        ),
    ),
    ("prefill", r"\bprefill\b|prompt (processing|eval)|prompt speed|\bpp ?\d+|input (token )?throughput"),
    (
        "decode",
        (
            r"\bdecod(e|ing)\b|\bgeneration\b|\btg ?\d+|\btext gen|output (token )?throughput|\beval\b|"
            r"\bgen(erate)?\b"
        ),
    ),
    ("end_to_end_s", r"end[ -]?to[ -]?end|\be2e\b|e2el|total latency|request latency"),
    ("achieved_flops_per_s", r"\b[tgmp]?flops?( ?/ ?s| per second)\b|achieved [tg]?flops|\btflops\b"),
    (
        "rate",
        (r"throughput|durchsatz|tokens? ?(/|per) ?s|tok/s|\btps\b|\bspeed\b|t/s|\b[qr]ps\b|\brate\b|/s(ec(ond)?)?\b"),
    ),
    (
        "device_peak_bytes",
        (
            r"(gpu|device|vram|cuda|metal) ?(peak |max )?(mem(ory)?)?\b.*\b(mem(ory)?|vram|allocated|reserved)|"
            r"\bvram\b|\bgpu mem|max allocated|max reserved"
        ),
    ),
    ("kv_cache_bytes", r"\bkv ?cache\b"),
    ("peak_rss_bytes", r"\bmem(ory)?\b|\brss\b|\bram\b|footprint"),
    (
        "weight_bytes",
        (r"(model|file|disk|weights?|checkpoint|on disk) ?size|size (on disk|\(|of)|^weights?$|weight bytes"),
    ),
    ("total", r"\btotal\b|\boverall\b"),
    (
        "call_s",
        (
            r"latenc|latenz|\bzeit\b|\bdauer\b|laufzeit|\btime\b|\bduration\b|\bruntime \(|inference|prediction|"
            r"predict|elapsed|\bwall\b|\btimings?\b|per call|ms per (run|call)"
        ),
    ),
)

_FACTS: tuple[tuple[str, str], ...] = (
    (
        "samples",
        (
            r"(num(ber)?( of)? |# ?|n )?(samples|runs|iters|iterations|repeats|repetitions|trials|measurements|"
            r"loops)|n|count|reps"
        ),
    ),
    ("warmup", r"(num(ber)?( of)? |# ?|n )?warm ?-?ups?( steps| runs| iterations| iters)?"),
    ("batch", r"(train(ing)? )?(micro ?)?batch( ?size)?|bs|n batch|bsz"),
    (
        "concurrency",
        (r"(max )?concurren(cy|t( users| requests)?)|users|streams|parallel( requests)?|n parallel|clients"),
    ),
    (
        "new_tokens",
        (
            r"(max )?(new|output|generated|gen) ?tokens|output (len(gth)?|size)|gen(eration)? ?(len(gth)?)?|n gen|"
            r"max new tokens|osl"
        ),
    ),
    (
        "prompt_tokens",
        (
            r"(prompt|input) ?(tokens|len(gth)?|size)?|n prompt|isl|seq(uence)?[ -]?len(gth)?|sequence|t|seq|"
            r"length|tokens"
        ),
    ),
    ("context", r"(context|ctx)( ?(len(gth)?|size|window|tokens))?|n ctx|block ?size|window"),
    ("stride", r"stride"),
    ("threads", r"(cpu )?threads|n threads|num threads"),
    ("compiled", r"(torch )?compiled?|torch\.compile|jit|compilation\?|compile mode"),
    ("weight_bits", r"(weight )?bits|wbits|w bits"),
    ("power_limit_w", r"tdp|power limit|board (power|limit)"),
    ("idle_w", r"idle( power)?"),
    (
        "dtype",
        (
            r"(torch |data |compute |weight )?d?types?|precision|quant(i[sz]ation)?( type| method| scheme)?|"
            r"numerics?|number format|type"
        ),
    ),
    ("compute_units", r"compute ?units?|units?|mlcomputeunits?"),
    ("runtime", r"runtime|backend|engine|framework|provider|execution provider|stack|library"),
    (
        "device",
        (
            r"(gpu |cpu )?(device|hardware|machine|chip|accelerator|gpu|cpu|platform|soc|phone|laptop|"
            r"processor)( ?(name|model|type))?|gpu info|cpu info"
        ),
    ),
    ("parameters", r"(#|num(ber)?( of)?|n|model)? ?param(eter)?s?( count)?( \(m\)| \(b\))?"),
    ("layers", r"(#|num(ber)?( of)?|n)? ?(hidden )?layers?|depth"),
    ("hidden_size", r"d model|hidden( size| dim)?|n embd|width|embed(ding)?( dim| size)?|dim"),
    ("intermediate_size", r"d ff|ffn?( dim| size)?|intermediate( size)?|mlp( dim| size)?|inner( size)?"),
    ("heads", r"(#|num(ber)?( of)?|n)? ?(attention )?heads?"),
    ("kv_heads", r"(#|num(ber)?( of)?|n)? ?(kv|key value) heads?"),
    ("head_dim", r"head (dim|size)|d ?head"),
    ("vocab_size", r"vocab(ulary)?( size)?"),
    ("dataset", r"data ?set|task|benchmark|corpus|text|split"),
    ("phase", r"phase|stage|pass|operation|op|part|component|test"),
    ("size", r"(model )?size( name| label)?"),
    ("status", r"status|outcome|ok\??|success|state"),
    ("role", r"role"),
    ("model", r"(model|modell|architecture|arch|network|checkpoint)( ?(name|id|type|variant))?"),
    (
        "label",
        (
            r"config(uration)?|mode|variant|name|setup|set-up|setting|method|approach|experiment|run|scenario|case|#|"
            r"id|row|optimi[sz]ation|system|implementation"
        ),
    ),
    (
        "ignore",
        (
            r"notes?|comments?|remarks?|description|verdict|conclusion|observations?|analysis|explanation|"
            r"interpretation|timestamp|date|commit|link|seed|url"
        ),
    ),
    ("metric_name", r"metric( name)?|measure(ment)?|quantity|kpi|statistic"),
    ("value", r"values?|results?|score|measured|measured value|reading|number"),
    ("unit", r"units?"),
)
_COMPILED_METRICS = tuple((name, re.compile(pattern)) for name, pattern in _METRICS)
_COMPILED_FACTS = tuple((name, re.compile(rf"(?:{pattern})")) for name, pattern in _FACTS)
_COMPILED_STATISTICS = tuple((name, re.compile(rf"(?<!\w)(?:{pattern})(?!\w)")) for name, pattern in _STATISTICS)
_BY_UNIT = {
    "s": "call_s", "s/tok": "tpot_s", "tok/s": "tok_per_s", "1/s": "items_per_s", "J": "energy_j", "W": "power_w",
    "FLOP/s": "achieved_flops_per_s", "J/tok": "energy_j@token",
}  # fmt: skip
_PREFILL = {"s": "prefill_s", "tok/s": "prefill_tok_per_s"}
_DECODE = {"s": "call_s@decode", "s/tok": "tpot_s", "tok/s": "decode_tok_per_s"}
_OWN_UNITS = {"total": "s"}
_RATES = {"tok/s": "tok_per_s", "1/s": "items_per_s", "FLOP/s": "achieved_flops_per_s"}
_NO_UNITS = frozenset({"bits", "bit", "min"})
"""Headers that mean something else than the unit of that name."""
_NO_TAILS = frozenset({"t", "T", "h", "B", "G", "M", "b", "bits", "bit"})
"""Last words of a header that are too short to be a unit without brackets."""
_KIND_ONLY = {"label", "ignore", "metric_name", "value", "unit"}
PHASES = {
    "forward": "forward_s", "fwd": "forward_s", "forward pass": "forward_s", "backward": "backward_s",
    "bwd": "backward_s", "backward pass": "backward_s",
    "optimizer": "optimizer_step_s", "optimiser": "optimizer_step_s",
    "optimizer step": "optimizer_step_s", "optim": "optimizer_step_s", "opt": "optimizer_step_s",
    "step": "optimizer_step_s", "total": "train_step_s", "forward+backward": "train_step_s", "fwd+bwd": "train_step_s",
    "forward + backward": "train_step_s", "forward and backward": "train_step_s", "full step": "train_step_s",
    "prefill": "prefill_s", "load": "load_s", "load_model": "load_s", "compile": "compile_s",
    "first call": "first_call_s", "end to end": "end_to_end_s", "generate": "end_to_end_s",
}  # fmt: skip
"""Times by the phase that a row is of."""


def words_of(text: str) -> str:
    """A header in lower case with its words apart: `avgLatency_ms` is `avg latency ms`."""
    text = re.sub(r"[_|]+", " ", _apart(plain(text[:200])))
    return re.sub(r"\s+", " ", text).strip().casefold()


def role_of(header: str) -> Role:
    """What a column of that name is, as far as its name tells."""
    said = plain(header)
    text, unit = _unit_taken(_apart(said))
    words = words_of(text)
    expected = bool(EXPECTED.search(words))
    statistic, rest = _statistic_taken(words)
    rest = re.sub(r"[()\[\]:]|\s+$|^\s+", " ", EXPECTED.sub(" ", rest)).strip(" ,-")
    rest = re.sub(r"\s+", " ", rest)
    if (_RATIO.search(words) and unit is None) or words in ("×", "x"):
        return Role("ratio", rest, unit=unit, expected=expected, said=said)
    if unit is None or unit.base in ("count", "1", "bit", "B", "W"):
        fact = _fact_of(rest, unit)
        if fact is not None and statistic == "value" and not (expected and fact == "value"):
            return Role(fact if fact in _KIND_ONLY else "fact", fact, unit=unit, said=said)  # type: ignore[arg-type]
        if fact == "samples":
            return Role("fact", "samples", said=said)
    metric = _metric_of(rest, unit)
    if statistic != "value" and (not rest or unit_of(rest) is not None):
        metric = None
    if metric is None and statistic != "value" and (not rest or _fact_of(rest, None) in _KIND_ONLY or unit):
        return Role("statistic", statistic=statistic, unit=unit, expected=expected, said=said)
    if metric is None and expected and _fact_of(rest, None) == "value":
        return Role("value", "value", unit=unit, expected=True, said=said)
    if metric is None:
        return Role("unknown", unit=unit, statistic=statistic, expected=expected, said=said)
    return Role("metric", metric, statistic, unit, expected, said)


def metric_with_unit(name: str, unit: Unit | None) -> str | None:
    """The metric that a vague word means once the unit of its cells is known: `decode` in tok/s is a rate.

    Returns:
        None where the word and the unit do not go together, or the word needs a unit and has none.
    """
    if name in ("prefill", "decode", "rate"):
        table = {"prefill": _PREFILL, "decode": _DECODE, "rate": _RATES}[name]
        return table.get(unit.base) if unit else None
    if unit is not None and unit.base == "s/tok" and name in ("call_s", "ttft_s"):
        return "tpot_s"
    if unit is not None and unit.base == "J/tok" and name == "energy_j":
        return "energy_j@token"
    if unit is not None and name == "call_s" and unit.base in _RATES:
        return _RATES[unit.base]
    if unit is not None and name == "total":
        return {"s": "total", "J": "energy_j", "W": "power_w", "tok/s": "tok_per_s", "B": "peak_rss_bytes"}.get(
            unit.base
        )
    return name


def fits(metric: str, unit: Unit | None) -> bool:
    """Whether a metric can be written in a unit."""
    known = METRICS.get(metric.partition("@")[0])
    base = known.unit if known else _OWN_UNITS.get(metric, "")
    return unit is None or not base or from_base(base, unit) is not None


def _apart(text: str) -> str:
    return re.sub(r"(?<=[a-z]{3})(?=[A-Z][a-z])", " ", text)


def _unit_taken(text: str) -> tuple[str, Unit | None]:
    """A header without its unit, and the unit."""
    for inner in re.finditer(r"[(\[]([^()\[\]]{1,30})[)\]]", text):
        for part in re.split(r"[,;]", inner[1]):
            unit = unit_of(part)
            if unit is not None:
                return f"{text[: inner.start()]} ({inner[1].replace(part, ' ')}) {text[inner.end() :]}", unit
    tail = re.fullmatch(r"(.+?)(?:,\s*|\s+in\s+|[\s_]|\s/\s|\s-\s)([^\s,_]{1,14}(?: per [a-z]+)?)", text)
    if tail:
        unit = unit_of(tail[2])
        if unit is not None and unit.base != "count" and tail[2] not in _NO_TAILS:
            return tail[1], unit
    whole = unit_of(text)
    if whole is not None and len(text) > 1 and text.casefold() not in _NO_UNITS:
        return text, whole
    return text, None


def _statistic_taken(words: str) -> tuple[Statistic, str]:
    both = re.search(r"(mean|avg|average)? ?(±|\+/?-) ?(std|sd|σ)( ?dev)?", words)
    if both:
        return "mean", words.replace(both[0], " ")
    spread = re.fullmatch(r"(.*\S)\s*(?:±|\+/-)\s*", words)
    if spread:
        return "mean", spread[1]
    if words.strip() in ("±", "+/-"):
        return "std", ""
    for name, pattern in _COMPILED_STATISTICS:
        found = pattern.search(words)
        if found:
            if name == "maximum" and re.search(r"max(imum)? (new|len|seq|concurren|batch|abs|logit|diff|err)", words):
                continue
            if name in ("maximum", "minimum") and re.search(r"mem|vram|rss|\bram\b|allocated|reserved", words):
                return "value", words
            if name == "other" and found[0] == "var":
                continue
            return name, f"{words[: found.start()]} {words[found.end() :]}".strip()
    if re.search(r"\bpeak power\b", words):
        return "maximum", words
    return "value", words


def _fact_of(words: str, unit: Unit | None) -> str | None:
    words = re.sub(r"\s*[()]\s*", " ", words).strip()
    for name, pattern in _COMPILED_FACTS:
        if pattern.fullmatch(words):
            if name == "size" and unit is not None and unit.base == "B":
                return None
            if unit is not None and unit.base == "B" and name != "parameters":
                return None
            if unit is not None and unit.base == "W" and name not in ("power_limit_w", "idle_w"):
                return None
            return name
    return None


def _metric_of(words: str, unit: Unit | None) -> str | None:
    if re.fullmatch(r"(model |file |disk )?size", words) and unit is not None and unit.base == "B":
        return "weight_bytes"
    if unit is not None and unit.base == "J" and "per token" in words:
        return "energy_j@token"
    for name, pattern in _COMPILED_METRICS:
        if pattern.search(words):
            found = metric_with_unit(name, unit) if unit is not None else name
            if found is not None and fits(found, unit):
                return found
    if unit is not None and unit.base in _BY_UNIT and (not words or unit_of(words) == unit):
        return _BY_UNIT[unit.base]
    return None
