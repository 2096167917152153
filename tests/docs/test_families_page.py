"""The table of docs/families.md is what the families do with a config.json. ASSAY_UPDATE_DOCS=1 writes it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from assay import catalog
from assay.build.checkpoints import gguf_families
from assay.build.families import family
from assay.core.errors import CheckpointError

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
_BEGIN, _END = "<!-- families: written by tests/docs/test_families_page.py -->\n", "<!-- end of families -->\n"

EVERYWHERE = {
    "quantization_config": {"quant_method": "gptq"},
    "is_encoder_decoder": True,
    "add_cross_attention": True,
    "use_bidirectional_attention": True,
    "alibi": True,
    "num_local_experts": 8,
}
ALTERING = {
    "sliding_window": 64,
    "attn_logit_softcapping": 30.0,
    "final_logit_softcapping": 30.0,
    "partial_rotary_factor": 0.5,
    "qk_layernorm": True,
    "hidden_act": "quick_gelu",
    "hidden_activation": "quick_gelu",
    "activation_function": "quick_gelu",
    "activation": "quick_gelu",
    "scale_attn_weights": False,
    "scale_attn_by_inverse_layer_idx": True,
    "reorder_and_upcast_attn": True,
    "word_embed_proj_dim": 9,
    "position_embedding_type": "relative_key",
    "is_decoder": True,
}
"""Values that alter the computation of some family."""
GGUF = {
    "gemma2": "gemma2", "gemma3": "gemma3_text", "gpt2": "gpt2", "gptneox": "gpt_neox", "llama": "llama", "phi2": "phi",
    "qwen2": "qwen2", "qwen3": "qwen3",
}  # fmt: skip
"""From `general.architecture` to the family."""


def refuses(name: str, key: str, value: object) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            family(name).Config.from_dict({"model_type": name, key: value})
        except CheckpointError as error:
            return key in str(error)
    return False


def table() -> str:
    lines = ["| family | checked against | GGUF | keys that are refused |", "|---|---|---|---|"]
    for name, against in catalog.FAMILIES.items():
        files = ", ".join(f"`{architecture}`" for architecture, of in GGUF.items() if of == name)
        refused = ", ".join(f"`{key}`" for key, value in ALTERING.items() if refuses(name, key, value))
        lines.append(f"| `{name}` | {against} | {files or '–'} | {refused or '–'} |")
    return "\n".join(lines) + "\n"


def test_the_table_is_what_the_families_do() -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(_BEGIN)
    shown, _, after = rest.partition(_END)
    if os.environ.get("ASSAY_UPDATE_DOCS"):
        PAGE.write_text(f"{before}{_BEGIN}{table()}{_END}{after}", encoding="utf-8")
        return
    assert shown == table(), "run with ASSAY_UPDATE_DOCS=1"


def test_what_the_page_says_is_refused_everywhere_is() -> None:
    sentence = PAGE.read_text(encoding="utf-8").partition("Refused means")[2].partition("refused everywhere")[0]
    for key, value in EVERYWHERE.items():
        assert f"`{key}`" in sentence
        natural = ["t5"] if key == "is_encoder_decoder" else []
        assert [name for name in catalog.FAMILIES if not refuses(name, key, value)] == natural


def test_every_gguf_architecture_has_its_family() -> None:
    assert set(GGUF) == set(gguf_families.FAMILIES)
    assert set(GGUF.values()) <= set(catalog.FAMILIES)
