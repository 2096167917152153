"""A runner of 40 lines: a small model in pure Python behind the protocol of docs/runner.md.

assay runner check "python examples/runner.py"
"""

import json
import sys
import time

VOCABULARY = 512
MULTIPLIERS = [6364136223846793005 + 2 * step for step in range(64)]


def next_token(tokens):
    """Stands for your model: any function of the tokens so far will do."""
    state = 1
    for token in tokens[-64:]:
        for multiplier in MULTIPLIERS:
            state = (state * multiplier + token + 1) % (1 << 61)
    return state % VOCABULARY


def generate(tokens, new_tokens):
    """Continue a prompt; each token with its time in nanoseconds since the request was read."""
    if not tokens or new_tokens < 1 or max(tokens) >= VOCABULARY or min(tokens) < 0:
        return {"error": "give tokens of the vocabulary, and ask for at least one", "kind": "unsupported"}
    started, sequence, times = time.perf_counter_ns(), list(tokens), []
    for _ in range(new_tokens):
        sequence.append(next_token(sequence))
        times.append(time.perf_counter_ns() - started)
    return {"tokens": sequence[len(tokens) :], "times_ns": times, "prompt_tokens": len(tokens)}


for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "open":  # request["model"]["directory"] holds safetensors and config.json
        facts = {"engine": f"python {sys.version.split()[0]}", "prefix_cache": "off", "threads": 1}
        answer = {"ready": {"protocol": 1, "vocab_size": VOCABULARY, "weights": "own", "facts": facts}}
    elif request["do"] == "generate":
        answer = {"id": request.get("id"), **generate(request["tokens"], request["new_tokens"])}
    elif request["do"] == "close":
        break
    else:
        answer = {"error": f"unknown request {request['do']!r}", "kind": "unsupported"}
    print(json.dumps(answer), flush=True)
