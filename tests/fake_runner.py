"""A runner that misbehaves as its first argument says; without one it is honest. Standard library only."""

import json
import os
import signal
import socket
import sys
import time

VOCABULARY = 512


def generate(fault, request):
    tokens, new_tokens = request["tokens"], request["new_tokens"]
    if not tokens or new_tokens < 1 or max(tokens) >= VOCABULARY:
        return {"error": "not like that", "kind": "unsupported"}
    made, times, started = [], [], time.perf_counter_ns()
    seed = sum(tokens) * 31 + tokens[-1]
    if fault == "deaf":
        seed = 7
    if fault == "random":
        seed += time.perf_counter_ns()
    for _ in range(new_tokens):
        time.sleep(0.0005)
        made.append(seed % VOCABULARY)
        seed = seed * 6364136223846793005 % (1 << 61) + 1
        times.append(time.perf_counter_ns() - started)
    answer = {"tokens": made, "times_ns": times, "prompt_tokens": len(tokens), "cached_tokens": 0}
    match fault:
        case "short":
            answer["tokens"] = made[:-1]
        case "few-times":
            answer["times_ns"] = times[:-1] if len(times) > 1 else []
        case "backwards":
            answer["times_ns"] = times[::-1] if len(times) > 1 else times
        case "zero":
            answer["times_ns"] = [0] * len(times)
        case "boast":
            answer["times_ns"] = [time_ns * 1000 for time_ns in times]
        case "outside":
            answer["tokens"] = [VOCABULARY] * new_tokens
        case "miscount":
            answer["prompt_tokens"] = len(tokens) + 1
        case "floats":
            answer["times_ns"] = [time_ns / 1e9 for time_ns in times]
        case "words":
            answer["tokens"] = ["the"] * new_tokens
        case "burst":
            answer["times_ns"] = [times[-1]] * new_tokens
    return answer


def serve(fault, requests, answers):
    def say(message):
        answers.write(message if isinstance(message, str) else json.dumps(message) + "\n")
        answers.flush()

    for line in requests:
        request = json.loads(line)
        if request["do"] == "open":
            if fault == "refuse":
                say({"error": "no such model here", "kind": "unsupported"})
                continue
            vocabulary = 77 if fault == "other-vocabulary" else VOCABULARY
            version = 9 if fault == "newer" else 1
            facts = {"engine": "fake", "threads": 1, "isa": ["none"]}
            say({"ready": {"protocol": version, "vocab_size": vocabulary, "weights": "own", "facts": facts}})
        elif request["do"] == "close":
            if fault == "stay":
                time.sleep(60)
            if fault == "bad-end":
                sys.exit(3)
            return
        elif request["do"] != "generate":
            say({"error": "unknown request", "kind": "unsupported"})
        elif fault == "garbage":
            say("Loading model... 100%\n")
        elif fault == "hang":
            time.sleep(60)
        elif fault == "die":
            print("the last words of a runner", file=sys.stderr, flush=True)
            sys.exit(4)
        elif fault == "illegal":
            os.kill(os.getpid(), signal.SIGILL)
        elif fault == "memory":
            say({"error": "no memory left", "kind": "out_of_memory"})
        elif fault == "obliging":
            harmless = {"tokens": [t % VOCABULARY for t in request["tokens"]] or [1]}
            say(
                {"id": request["id"], **generate("", {**request, **harmless, "new_tokens": request["new_tokens"] or 1})}
            )
        else:
            identifier = 0 if fault == "out-of-step" else request["id"]
            say({"id": identifier, **generate(fault, request)})


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    if chosen == "listen":
        with socket.create_server(("127.0.0.1", 0)) as server:
            print(server.getsockname()[1], flush=True)
            connection, _ = server.accept()
            with connection, connection.makefile("r") as requests, connection.makefile("w") as answers:
                serve("", requests, answers)
    else:
        serve(chosen, sys.stdin, sys.stdout)
