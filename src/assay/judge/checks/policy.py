"""Every threshold of the checks, in one place; a policy file overrides them. It refuses thresholds of unknown names."""

from __future__ import annotations

from pydantic import Field

from assay.core.records import Record


class CheckPolicy(Record, use_attribute_docstrings=True):
    """Thresholds; the text of each field begins with the rule of disbelief that it belongs to."""

    parity_kl_nats: float = Field(default=0.02, ge=0)
    """38: KL divergence between two runtimes of one variant that rounding to 16 bits explains."""
    parity_kl_float32_nats: float = Field(default=1e-4, ge=0)
    """38: the same where both compute in float32."""
    first_sample_ratio: float = Field(default=1.5, gt=1)
    """3: the first timed sample against the median of the rest."""
    first_sample_error_ratio: float = Field(default=10.0, gt=1)
    """3: from here, and from the next threshold in seconds, it is an error."""
    first_sample_error_s: float = Field(default=1.0, gt=0)
    """3"""
    noise_deviation: float = Field(default=0.10, gt=0)
    """4: standard deviation / mean."""
    noise_extreme: float = Field(default=0.50, gt=0)
    """4: distance of the smallest or the largest sample from the mean, as a share of it."""
    noise_raw_s: float = Field(default=1e-3, ge=0)
    """4: a single timed call shorter than this."""
    noise_iqr: float = Field(default=0.10, gt=0)
    """4: interquartile range / median."""
    noise_iqr_gross: float = Field(default=0.25, gt=0)
    """4: the same, called gross."""
    impossible_spread: float = Field(default=1.001, ge=1)
    """1: deviation / mean against the largest possible; above 1 for what printing rounds."""
    cold_call_match: float = Field(default=0.25, gt=0, lt=1)
    """2: distance of deviation / (mean - warm reference) from sqrt(n), as a share of it."""
    cold_call_variation: float = Field(default=0.25, gt=0)
    """2: deviation / mean where there is no warm reference."""
    derived_match: float = Field(default=1e-3, gt=0)
    """5: distance of a deviation from the hypotenuse of two others, as a share of it."""
    backward_least: float = Field(default=1.6, gt=0)
    """6: backward / forward."""
    backward_most: float = Field(default=3.2, gt=0)
    """6"""
    phase_sum: float = Field(default=0.01, gt=0)
    """7: distance of forward + backward from the whole, as a share of it."""
    more_work: float = Field(default=1.05, ge=1)
    """9: least ratio of parameters, tokens or sequences that counts as more work."""
    more_margin: float = Field(default=0.03, ge=0)
    """9: by how much more work must be faster where no error is known."""
    overhead_flat: float = Field(default=0.10, gt=0)
    """10: difference of the times per layer."""
    overhead_work: float = Field(default=1.5, gt=1)
    """10: ratio of the FLOPs per layer."""
    dispatch_floors: float = Field(default=2.0, gt=0)
    """10: time / (dispatches x dispatch floor)."""
    compile_equal: float = Field(default=0.03, gt=0)
    """11: difference of compiled and uncompiled."""
    residual_spread: float = Field(default=0.15, gt=0)
    """11b: range of measured - predicted over the rows, as a share of its mean."""
    residual_roofs: float = Field(default=1.8, gt=1)
    """11b: largest / smallest predicted time among the rows."""
    calls_growth: float = Field(default=0.05, gt=0)
    """12: distance of the time ratio of 2 k and k calls from 2, as a share."""
    flat_work: float = Field(default=2.0, gt=1)
    """12: ratio of tokens or sequences from which a time must have grown."""
    flat_time: float = Field(default=1.1, gt=0)
    """12: the time ratio up to which it has not."""
    flat_share: float = Field(default=0.5, gt=0)
    """12: share of the time that the operations need at the device's peak, from which flat is impossible."""
    flat_work_alone: float = Field(default=4.0, gt=1)
    """12: the ratio of tokens or sequences where no peak is known."""
    unresolved_errors: float = Field(default=2.0, gt=0)
    """5: a time below this many standard errors is not resolved."""
    consistency: float = Field(default=0.05, gt=0, lt=1)
    """8: distance from 1 of throughput x latency / work, and of the phases' sum / end to end."""
    replicate_level: float = Field(default=1.0, gt=0)
    """11a: effects smaller than this many times the null variant's are unresolved."""
    replicate_margin: float = Field(default=0.05, gt=0)
    """11a: difference of one configuration in several tables whose errors are not known."""
    replicate_floor: float = Field(default=0.01, ge=0)
    """11a: difference that is never told."""
    cpu_share: float = Field(default=0.9, gt=0, le=1)
    """13: CPU time / (wall time x threads)."""
    psi_cpu_some_avg10: float = Field(default=5.0, gt=0)
    """13: per cent of the last 10 s in which some process waited for a CPU."""
    steal_fraction: float = Field(default=0.01, gt=0)
    """13: share of CPU time taken by the hypervisor."""
    drift_rho: float = Field(default=0.3, gt=0, lt=1)
    """14: Spearman's correlation of samples with their order."""
    drift_p: float = Field(default=0.01, gt=0, lt=1)
    """14: its p-value, and that of a change point."""
    drift_thirds: float = Field(default=1.03, gt=1)
    """14: median of the last third / median of the first."""
    copied_figures: int = Field(default=2, ge=1)
    """15: measured figures (deviations count) that must agree to all digits."""
    printed_ratio: float = Field(default=0.01, gt=0)
    """15: distance of a printed ratio from the one computed anew, beyond what printing rounds."""
    unit_range: float = Field(default=100.0, gt=1)
    """15: largest / smallest of the other cells of a column up to which a jump is one."""
    unit_slack: float = Field(default=3.0, ge=1)
    """15: how far outside of the others' range a cell may lie once its unit is mended."""
    above_peak: float = Field(default=1.05, ge=1)
    """16, 32: FLOP/s / peak, from here an error."""
    near_peak: float = Field(default=0.85, gt=0)
    """16: FLOP/s / peak, from here suspect."""
    above_bandwidth: float = Field(default=1.05, ge=1)
    """17: bytes/s / bandwidth."""
    cache_bytes: float = Field(default=128e6, ge=0)
    """17: bytes that a last-level cache may hold where nothing is known of it."""
    accelerated_ops: float = Field(default=0.05, gt=0)
    """20: share of the operations on an accelerator below which it did next to nothing."""
    accelerated_time: float = Field(default=0.5, gt=0)
    """20: time / time on the CPU alone."""
    op_totals: float = Field(default=0.02, gt=0)
    """20: difference of the operations of one model on several units."""
    all_units: float = Field(default=1.05, ge=1)
    """20: time on all units / the best restriction."""
    least_utilisation: float = Field(default=0.05, gt=0)
    """21: device utilisation."""
    least_mfu: float = Field(default=0.01, gt=0)
    """21: FLOP/s / peak, and the next."""
    least_mbu: float = Field(default=0.05, gt=0)
    """21: bytes/s / bandwidth."""
    slower_margin: float = Field(default=0.03, ge=0)
    """19: by how much fewer bits must be slower where no error is known."""
    speedup_over_bound: float = Field(default=1.1, ge=1)
    """18: speed-up / the larger of byte ratio and peak ratio."""
    prefill_tokens_per_weight: int = Field(default=32, ge=1)
    """19: tokens that share one read of a weight from which a product is bound by arithmetic, not by bytes."""
    perplexity_warn: float = Field(default=0.10, gt=0)
    """23: |ln(perplexity / published)|, from here suspect."""
    perplexity_error: float = Field(default=0.25, gt=0)
    """23: from here an error."""
    perplexity_computed: float = Field(default=0.15, ge=0)
    """23: added to both where the expected value was computed from published ones."""
    perplexity_of_nll: float = Field(default=0.02, gt=0)
    """24: |ln(perplexity) - NLL| in nats."""
    majority_match: float = Field(default=0.002, gt=0)
    """26: distance of an accuracy from the share of the largest class."""
    flipped_match: float = Field(default=0.03, gt=0)
    """26: distance of 1 - accuracy from the expected accuracy."""
    flipped_least: float = Field(default=0.6, gt=0, lt=1)
    """26: expected accuracy from which one minus it means something."""
    better_margin: float = Field(default=0.02, ge=0)
    """27: relative gain that is suspect where no error is known."""
    saturated_kl: float = Field(default=1e-12, ge=0)
    """28: KL divergence, in nats, called 0."""
    size_least: float = Field(default=0.97, gt=0)
    """29: bytes / (parameters x bits / 8)."""
    size_most: float = Field(default=1.15, gt=0)
    """29: the same, with an embedding that stays at 16 bits."""
    size_of_half: float = Field(default=0.95, gt=0)
    """29: bytes / those at 16 bits, from which a file of fewer bits was not quantised."""
    energy_product: float = Field(default=0.05, gt=0)
    """30: distance of energy / (power x time) from 1."""
    power_over_limit: float = Field(default=1.1, ge=1)
    """30: power / the board's limit."""
    power_over_idle: float = Field(default=1.2, ge=1)
    """30: power / idle power."""
    counter_periods: float = Field(default=10.0, gt=0)
    """30: updates of an energy counter inside its window."""
    energy_per_flop: float = Field(default=1.0, gt=0)
    """30: energy of an operation / (limit / peak), below it suspect, below half of it an error."""
    constant_power_rows: int = Field(default=3, ge=2)
    """30: rows with the same mean power."""
    cache_difference_float32: float = Field(default=1e-2, gt=0)
    """34: largest logit difference in float32."""
    cache_difference: float = Field(default=0.5, gt=0)
    """34: largest logit difference in other types."""
    calibration_samples: int = Field(default=32, ge=1)
    """35: calibration samples."""
    text_compression: float = Field(default=1.4, gt=1)
    """4.1: bytes / compressed bytes of a text, over the reference's."""
    text_distinct: float = Field(default=0.6, gt=0, lt=1)
    """4.1: share of different pairs of tokens, over the reference's."""
    text_repeated: float = Field(default=0.2, gt=0, lt=1)
    """4.1: share of repeated 4-grams, above the reference's."""
    text_script: float = Field(default=0.9, gt=0, le=1)
    """4.1: share of letters of one script, unless the reference mixes as much."""
    text_word: float = Field(default=60.0, gt=0)
    """4.1: characters of a word."""
    text_nll: float = Field(default=2.0, gt=1)
    """4.1: nats per token of the text to the reference, over those of its own text."""
    swap_removes: int = Field(default=2, ge=1)
    """31: findings that an exchange of two labels must remove to be proposed."""
    acceptance_match: float = Field(default=0.05, gt=0)
    """37: distance of the histogram's mean from the chained product."""
    nll_digits: int = Field(default=6, ge=1)
    """22: digits to which two likelihoods must agree to be called the same."""
    psnr_identical_db: float = Field(default=100.0, gt=0)
    """22: above this no type was changed."""
    nll_below_chance_nats: float = Field(default=0.5, gt=0)
    """25: NLL within this of ln(vocabulary) is chance."""
    kl_of_chance: float = Field(default=0.5, gt=0, le=1)
    """25: KL divergence as a share of ln(vocabulary)."""
    top1_least: float = Field(default=0.05, ge=0, lt=1)
    """25: top-1 agreement."""
    expanded_bytes: float = Field(default=1.2, ge=1)
    """29: weights in memory / weights on disk."""
    layer_fall_db: float = Field(default=6.0, gt=0)
    """29: fall of the PSNR from one layer to the next at which a variant is said to stray: twice the error."""
    layer_faithful_db: float = Field(default=60.0, gt=0)
    """29: PSNR of a layer from which it counts as faithful."""
    rounds_share: float = Field(default=0.5, gt=0, le=1)
    """3, 4, 14: share of the rounds in which it must show, so that one bad moment is no finding."""
    contended_rounds_share: float = Field(default=0.1, gt=0, le=1)
    """13: share of contended rounds."""


def changed(policy: CheckPolicy) -> dict[str, float]:
    """The thresholds of a policy that are not the defaults."""
    defaults = CheckPolicy()
    return {
        name: float(getattr(policy, name))
        for name in CheckPolicy.model_fields
        if getattr(policy, name) != getattr(defaults, name)
    }


def thresholds_of(rule: str, policy: CheckPolicy) -> dict[str, float]:
    """The thresholds that belong to a rule, by the numbers that begin their descriptions."""
    return {
        name: float(getattr(policy, name))
        for name, field in CheckPolicy.model_fields.items()
        if rule in {part.strip() for part in (field.description or "").partition(":")[0].split(",")}
    }
