"""`assay` exports what it says, again and again: a subpackage of the name `run` must not take the function's place."""

import subprocess
import sys

import assay


def test_every_export_is_there():
    for name in assay.__all__:
        assert callable(getattr(assay, name)), name


def test_run_stays_callable_after_its_package_was_imported():
    code = (
        "import assay, assay.run.session\n"
        "try:\n    assay.run({'model': 1})\n"
        "except assay.api.StudyError as error:\n    print('refused', error)\n"
    ).replace("assay.api.StudyError", "__import__('assay.core.errors').core.errors.StudyError")
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("refused The study")
