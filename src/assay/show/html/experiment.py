"""The section of an experiment: expected beside measured, and every decision on it. It computes no number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.core.decisions import Decision, Effect, Expectation, ExperimentRun
from assay.show import format as shown
from assay.show.experiments import (
    effect_words,
    expectation_words,
    heading_words,
    inside_words,
    subject_words,
    trigger_words,
)
from assay.show.html.elements import Markup, element

_TONES = {"shipping": "good", "rejected": "bad", "abandoned": "bad", "shelved": "unsure"}


@dataclass(frozen=True)
class Story:
    """An experiment as it was run, and what was decided on it, oldest first."""

    run: ExperimentRun
    decisions: tuple[Decision, ...] = ()


def experiment_section(story: Story) -> Markup:
    """Hypothesis, expected beside measured, decisions."""
    experiment = story.run.experiment
    head = element("tr", *[element("th", name, scope="col") for name in ("number", "expected", "measured", "so")])
    pairs = zip(experiment.expect, story.run.evidence.effects, strict=True)
    rows = [_row(expected, effect) for expected, effect in pairs]
    table = element(
        "table",
        element("caption", "Expected beside measured", class_="unseen"),
        element("thead", head),
        element("tbody", *rows),
    )
    scroll = element("div", table, class_="scroll", role="region", aria_label="Expected beside measured", tabindex="0")
    stated = f"Expectations were stated on {experiment.stated}, before anything was measured."
    return element(
        "section",
        element("h2", "Experiment", id="experiment-title"),
        element("p", shown.one_line(experiment.hypothesis)),
        element("p", stated, class_="quiet"),
        scroll,
        element("h3", "Decisions"),
        _decisions(story.decisions),
        id="experiment",
        aria_labelledby="experiment-title",
    )


def _row(expected: Expectation, effect: Effect) -> Markup:
    measured = effect_words(effect)
    invalid = element("s", measured.split("~~")[1]) if effect.struck else measured
    why = element("span", "; ".join(effect.struck), class_="sub bad-text") if effect.struck else ""
    return element(
        "tr",
        element("th", shown.one_line(subject_words(expected)), scope="row"),
        element("td", expectation_words(expected)),
        element("td", invalid, why),
        element("td", inside_words(expected, effect) or shown.MISSING),
    )


def _decisions(decisions: Sequence[Decision]) -> Markup:
    if not decisions:
        return element("p", "Nothing was decided yet.", class_="quiet")
    cards = []
    for decision in decisions:
        numbers = [f"{subject_words(effect)}: {effect_words(effect)}" for effect in decision.numbers]
        again = [f"look again when {trigger_words(trigger)}" for trigger in decision.triggers]
        old = [f"supersedes {name}" for name in decision.supersedes]
        tone = _TONES.get(decision.status, "plain")
        cards.append(
            element(
                "li",
                element("h3", f"{decision.decided_utc[:10]}, by {shown.one_line(decision.author)}"),
                element("p", decision.status.replace("_", " "), class_=f"pill {tone}"),
                element("p", f"{heading_words(decision)}: {shown.one_line(decision.reason)}"),
                element("ul", *[element("li", shown.one_line(line)) for line in (*numbers, *again, *old)]),
                class_=f"card {tone}",
            )
        )
    return element("ol", *cards, class_="cards")
