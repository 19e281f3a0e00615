#!/usr/bin/env python3
"""Writes tests/golden/advice/cases.json: what the functions of the two guides that hearth's advice follows return, over all their cases.

    seed_functions.py GUIDE...

The guides are Markdown; their Python blocks are run as they stand, and their functions asked. hearth's answers in mode "seed" are held
against these.
"""
import contextlib
import functools
import itertools
import json
import pathlib
import re
import sys

WANTED = ["choose_model", "optimize_parameters", "optimize_parameters_for_model", "recommend_model", "optimize_for_speed", "optimize_for_quality",
          "truncate_messages", "validate_function_schema", "exponential_backoff"]
CLASSES = ["PromptEnhancer", "CostOptimizedGenerator", "ContentSafetyFilter", "FireworksMigrationHelper", "ImageGenerationTracker",
           "FireworksUsageTracker"]


class Chance:
    """What a wait is made of: chance at one of its ends, and a clock that notes how long it was asked to sleep."""
    least, slept = True, []

    @classmethod
    def uniform(cls, low: float, high: float) -> float:
        return low if cls.least else high

    @classmethod
    def sleep(cls, seconds: float) -> None:
        cls.slept.append(seconds)


class Requests:
    class exceptions:
        class RequestException(Exception):
            pass


def waits(backoff, retries: int, base: float, status: int, least: bool) -> list:
    """How long the guide's function sleeps between tries that all fail with this status."""
    Chance.least, Chance.slept = least, []

    @backoff(max_retries=retries, base_delay=base)
    def fails() -> None:
        e = Requests.exceptions.RequestException()
        e.response = type("Response", (), {"status_code": status})
        raise e

    with contextlib.redirect_stdout(None), contextlib.suppress(Requests.exceptions.RequestException):
        fails()
    return Chance.slept


def definitions(text: str) -> dict:
    """The wanted functions and classes of the guide's Python blocks."""
    found: dict = {"re": re, "json": json, "wraps": functools.wraps, "random": Chance, "time": Chance, "requests": Requests}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        for part in re.split(r"\n(?=def |class |@|# |[a-z_]+ = )", "\n" + block):
            m = re.match(r"(?:def|class) (\w+)", part.lstrip("\n"))
            if m and m.group(1) in WANTED + CLASSES:
                exec(part, found)  # the guides are ours
    return found


def main() -> None:
    env: dict = {}
    for path in sys.argv[1:]:
        env.update(definitions(pathlib.Path(path).read_text(encoding="utf-8")))
    missing = [n for n in WANTED + CLASSES if n not in env]
    if missing:
        sys.exit(f"not found: {', '.join(missing)}")
    words = ["low", "medium", "high", "other", None]
    tasks = ["reasoning", "function_calling", "general", "speed_critical", "creative", "factual", "other", None]
    out: dict = {"text": [], "image_parameters": [], "use_case": [], "quality": [], "batch": [], "speed": [], "better": [], "enhance": [],
                 "negative": [], "safety": [], "dalle": [], "picture_cost": [], "token_cost": [], "truncate": [], "tools": []}
    for task, complexity, budget in itertools.product(tasks, words, words):
        out["text"].append({"task": task, "complexity": complexity, "budget": budget, "model": env["choose_model"](task, complexity, budget),
                            "parameters": env["optimize_parameters"](task)})
    prefix = "accounts/fireworks/models/"
    models = ["flux-1-dev-fp8", "flux-1-schnell-fp8", "stable-diffusion-xl-1024-v1-0", "playground-v2-5-1024px-aesthetic",
              "japanese-stable-diffusion-xl", "SSD-1B"]
    for model, use in itertools.product(models, ["portrait", "landscape", "artistic", "other", None]):
        out["image_parameters"].append({"model": prefix + model, "use_case": use,
                                        "parameters": env["optimize_parameters_for_model"](prefix + model, use)})
    money = [0, 0.0001, 0.001, 0.0014, 0.0019, 0.002, 0.003, 0.0030001, 0.0039, 0.004, 0.0041, 0.01, 0.010001, 0.014, 0.0149, 0.015, 0.02, 1]
    uses = ["commercial_photography", "social_media", "prototyping", "artistic_creation", "other"]
    for use, dollars in itertools.product(uses, money):
        out["use_case"].append({"use_case": use, "dollars": dollars, "says": env["recommend_model"](use, dollars, None)})
    generator = env["CostOptimizedGenerator"]("key")
    for quality, dollars in itertools.product(["highest", "good", "other"], money):
        out["quality"].append({"quality": quality, "dollars": dollars, "answer": generator.choose_optimal_model(quality, dollars)})
    for n, dollars in itertools.product([1, 3, 100, 1000], [0.001, 0.1, 0.39, 1, 5, 50]):
        out["batch"].append({"n": n, "dollars": dollars, "answer": generator.batch_optimize(["x"] * n, dollars)})
    for model, steps, guidance in itertools.product(models, [None, 5, 20, 21, 28, 50], [None, 2.0, 4.0, 7.5]):
        given = {"model": prefix + model}
        if steps:
            given["steps"] = steps
        if guidance:
            given["guidance_scale"] = guidance
        out["speed"].append({"given": given, "answer": env["optimize_for_speed"](given)})
        out["better"].append({"given": given, "answer": env["optimize_for_quality"](given)})
    enhancer = env["PromptEnhancer"]()
    for style, quality in itertools.product(["photorealistic", "artistic", "cinematic", "portrait", "no such style"], [True, False]):
        out["enhance"].append({"prompt": "A woman reading a book", "style": style, "quality": quality,
                               "answer": enhancer.enhance_prompt("A woman reading a book", style, quality)})
    for avoid in [None, [], ["cartoon"], ["cartoon", "anime"]]:
        out["negative"].append({"avoid": avoid, "answer": enhancer.generate_negative_prompt(avoid)})
    checker = env["ContentSafetyFilter"]()
    for prompt in ["a cat", "Violence in the street", "an explicit scene", "a harmful plan", "a weapon on a table", "Drugs and weapons", "a drugstore",
                   "political cartoon", "apolitical people", "nonviolence", "a drug and a weapon, explicit", ""]:
        out["safety"].append({"prompt": prompt, "answer": checker.check_prompt_safety(prompt)})
    migrator = env["FireworksMigrationHelper"]("key")
    for size, quality, n in itertools.product([None, "256x256", "512x512", "1024x1024", "1792x1024", "1024x1792", "7x7"], [None, "standard", "hd"],
                                              [None, 2]):
        given = {"prompt": "p"} | {k: v for k, v in {"size": size, "quality": quality, "n": n}.items() if v}
        out["dalle"].append({"given": given, "answer": migrator.migrate_dalle_request(given)})
    tracker = env["ImageGenerationTracker"].__new__(env["ImageGenerationTracker"])
    for model, steps, n in itertools.product(models, [1, 4, 28, 30], [1, 3]):
        out["picture_cost"].append({"model": model, "steps": steps, "n": n, "cost": tracker.calculate_cost(model, steps, n)})
    tracker = env["FireworksUsageTracker"].__new__(env["FireworksUsageTracker"])
    for model in ["deepseek-r1-0528", "qwen3-235b-a22b", "llama4-maverick-instruct-basic", "llama4-scout-instruct-basic", "deepseek-v3"]:
        for tokens in [(0, 0), (1, 1), (1000, 500), (123456, 7890), (1000000, 1000000)]:
            out["token_cost"].append({"model": model, "input": tokens[0], "output": tokens[1],
                                      "cost": tracker.calculate_cost(prefix + model, *tokens)})
    for head, n, limit in itertools.product([True, False], [1, 5, 10, 11, 25], [3, 20, 1000]):
        messages = ([{"role": "system", "content": "be short"}] if head else []) + \
            [{"role": "user" if i % 2 == 0 else "assistant", "content": f"word {i}"} for i in range(n)]
        out["truncate"].append({"messages": messages, "max_tokens": limit, "answer": env["truncate_messages"](messages, limit)})
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    for tools in [[{"type": "function", "function": function}], [{"type": "other", "function": function}]] + \
            [[{"type": "function", "function": {k: v for k, v in function.items() if k != gone}}] for gone in function]:
        try:
            answer: object = env["validate_function_schema"](tools)
        except ValueError as e:
            answer = str(e)
        out["tools"].append({"tools": tools, "answer": answer})
    out["retry"] = []
    for retries, base, status in itertools.product([0, 1, 3, 5], [1, 0.5], [429, 500, 400]):
        least, most = (waits(env["exponential_backoff"], retries, base, status, end) for end in (True, False))
        out["retry"].append({"max_retries": retries, "base_delay": base, "status": status, "least": least, "most": most})
    target = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/advice/cases.json"
    target.write_text(json.dumps(out, separators=(",", ":")).replace('],"', '],\n"') + "\n", encoding="utf-8")
    print({k: len(v) for k, v in out.items()})


if __name__ == "__main__":
    main()
