#!/usr/bin/env python3
"""Balances the nodes of a domain by measured execution time: an example of a delegated orchestrator.

It reads nodes, instances and samples from the mirror in Redis, and asks for one move at a time by an
intent. ε-ORC decides, and answers in the list of outcomes. docs/delegation.md says how this works.
"""
import argparse
import collections
import json
import sys
import time

try:
    import redis
except ImportError:
    sys.exit(f"{sys.executable} has no redis-py: use one that has (Debian: python3-redis for /usr/bin/python3)")

Running = collections.namedtuple("Running", "logical_id name node_id busy")


def read(mirror, window):
    """Functions that run, and the share of its time that each node spent in them lately."""
    nodes = {key.rsplit(":", 1)[1]: 0.0 for key in mirror.scan_iter("nodes:capabilities:*-*")}
    found, newest = [], 0.0
    for key in mirror.scan_iter("instance:*-*"):
        vertex = json.loads(mirror.get(key) or "{}")
        if vertex.get("spec", {}).get("kind") != "function":
            continue
        for copy in vertex["instances"]:
            samples = f"performance:function_execution_time:{copy['physical_id']}"
            # The clock is that of the samples, whatever this machine's says.
            last = mirror.zrange(samples, -1, -1, withscores=True)
            newest = max([newest] + [score for _, score in last])
            found.append((vertex, copy["node_id"], samples))
    functions = []
    for vertex, node_id, samples in found:
        members = mirror.zrangebyscore(samples, newest - window, "+inf")
        busy = sum(float(member.rsplit(":", 1)[1]) for member in members) / window
        if node_id in nodes:
            nodes[node_id] += busy
            functions.append(Running(vertex["logical_id"], vertex["spec"]["name"], node_id, busy))
    return nodes, functions


def candidates(nodes, functions, margin):
    """Moves that even out the load: the hottest function of the busiest node first, the idlest node first."""
    busiest = max(nodes, key=nodes.get, default=None)
    for function in sorted(functions, key=lambda it: it.busy, reverse=True):
        for target in sorted(nodes, key=nodes.get):
            gain = nodes[busiest] - (nodes[target] + function.busy)
            if function.node_id == busiest and target != busiest and function.busy > 0 and gain > margin:
                yield function, target


def ask(mirror, key, value, patience):
    """Announces an intent and waits for its outcome: None when it is carried out, else why it is not."""
    before = set(mirror.lrange("intent_outcomes", 0, -1))
    mirror.set(key, value)
    mirror.rpush("intents", key)
    end = time.monotonic() + patience
    while time.monotonic() < end:
        for text in mirror.lrange("intent_outcomes", 0, -1):
            outcome = json.loads(text)
            if text not in before and (outcome["key"], outcome["value"]) == (key, value):
                return outcome["refused"]
        time.sleep(0.05)
    return f"ε-ORC has not answered within {patience} s; does it run, and does it use this Redis?"


def arrived(mirror, logical_id, node_id, patience):
    """Waits until a function runs where it was sent."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        vertex = json.loads(mirror.get(f"instance:{logical_id}") or "{}")
        if [copy["node_id"] for copy in vertex.get("instances", [])] == [node_id]:
            return True
        time.sleep(0.05)
    return False


def balance(mirror, options):
    """Looks once, and moves at most one function; says what came of it."""
    nodes, functions = read(mirror, options.window)
    for node_id, busy in sorted(nodes.items(), key=lambda it: -it[1]):
        print(f"node {node_id} is busy with functions {busy:.4%} of its time")
    for function, target in candidates(nodes, functions, options.margin):
        print(f"{function.name} takes {function.busy:.4%} of its node, the busiest; {target} has more room")
        if options.dry_run:
            return "nothing is moved: this is a dry run"
        refused = ask(mirror, f"intent:migrate:{function.logical_id}", target, options.patience)
        if not refused and arrived(mirror, function.logical_id, target, options.patience):
            return f"{function.name} runs on {target} now"
        if not refused:
            return f"the move is decided, but {function.name} does not run on {target} yet"
        print(f"refused: {refused}")
    return "nothing is moved: no move that is allowed makes the busiest node less busy"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--redis", default="redis://127.0.0.1:6379", metavar="URL", help="the mirror")
    arguments.add_argument("--every", type=float, default=10, metavar="SECONDS", help="how often to look")
    arguments.add_argument("--window", type=float, default=10, metavar="SECONDS", help="samples that count")
    arguments.add_argument("--margin", type=float, default=0.02, help="share of time that is worth a move")
    arguments.add_argument("--patience", type=float, default=10, metavar="SECONDS", help="wait for answers")
    arguments.add_argument("--once", action="store_true", help="look once, then end")
    arguments.add_argument("--dry-run", action="store_true", help="say what would be moved, move nothing")
    options = arguments.parse_args()
    mirror = redis.Redis.from_url(options.redis, decode_responses=True, socket_timeout=5)
    while True:
        try:
            print(balance(mirror, options), flush=True)
        except redis.RedisError as error:
            print(f"Redis at {options.redis}: {error}", file=sys.stderr)
            if options.once:
                sys.exit(1)
        if options.once:
            return
        time.sleep(max(options.every, 0.1))


if __name__ == "__main__":
    main()
