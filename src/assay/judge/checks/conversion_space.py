"""Rule 36: a conversion whose temporary files outgrew their estimate."""

from __future__ import annotations

from assay.core.records import Cell, Finding
from assay.judge.checks.base import Answer, Subject
from assay.judge.checks.figures import row_entries
from assay.judge.checks.policy import CheckPolicy

NAME = "conversion_space"
RULE = "36"


def check(subject: Subject, policy: CheckPolicy) -> Answer:
    """Compare the largest size of a conversion's temporary directory with what it was estimated to need."""
    findings: list[Finding] = []
    unseen: list[str] = []
    for entry in row_entries(subject):
        used, estimate = entry.amount("conversion_temporary_bytes"), entry.amount("conversion_estimate_bytes")
        if used is None or estimate is None:
            if used is not None or estimate is not None:
                unseen.append(f"no {'use' if used is None else 'estimate'} of the temporary files of {entry.name}")
            continue
        if used > estimate:
            findings.append(
                Finding(
                    check=NAME,
                    severity="ERR",
                    cells=entry.cells("weight_bytes", "compile_s", "load_s")
                    or (Cell(row=entry.row.name, metric="weight_bytes", table=entry.label),),
                    numbers={"used_bytes": used, "estimate_bytes": estimate},
                    summary=f"converting {entry.name} took {used / 1e9:.3g} GB of temporary files, of an estimated "
                    f"{estimate / 1e9:.3g} GB",
                    cause="the converter wrote copies that nobody expected: "
                    f"{entry.text('conversion_largest_file') or 'which, is not recorded'}",
                    remedy="Stop it at the estimate, clean up, and convert layer by layer",
                )
            )
    return Answer(tuple(findings), tuple(unseen))
