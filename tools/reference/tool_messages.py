#!/usr/bin/env python3
"""Conversations with calls of tools as each family's template prints them, rendered by real jinja2.

    python tools/reference/tool_messages.py     writes tests/golden/tools/messages.json

A case has the messages as a client sends them; beside it stands the rendering of what tools_messages() has to make of them, written
down here by hand for each template: which form of arguments it takes, how many calls a message, ids, results.
Needs: transformers, jinja2.
"""
import copy
import json
import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
import template  # noqa: E402

GOLDEN = "tests/golden/template"
OUT = "tests/golden/tools/messages.json"
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


def call(id, name, **arguments):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}


def user(text):
    return {"role": "user", "content": text}


def bot(text, *calls):
    return {"role": "assistant", "content": text, **({"tool_calls": list(calls)} if calls else {})}


def result(id, text):
    return {"role": "tool", "tool_call_id": id, "content": text}


ROME, KOELN = call("abcdefghi", "get_weather", city="Rome"), call("call_0123456789abcdefghijklmn", "get_weather", city="Köln", days=[1, 2.5])
CONVERSATIONS = {
    "one call": [user("Weather in Rome?"), bot(None, ROME), result("abcdefghi", "20 C")],
    "one call, answered": [user("Weather in Rome?"), bot("", ROME), result("abcdefghi", "20 C"), bot("It is 20 C."), user("Thanks")],
    "two calls at once": [user("Rome and Köln?"), bot(None, ROME, KOELN), result("abcdefghi", "20 C"), result(KOELN["id"], "{\"t\": 9}")],
    "results the other way round": [user("Rome and Köln?"), bot(None, ROME, KOELN), result(KOELN["id"], "9 C"), result("abcdefghi", "20 C")],
    "text beside the call": [user("Rome?"), bot("Let me see.", ROME), result("abcdefghi", "20 C")],
    "calls in steps": [user("Rome?"), bot(None, ROME), result("abcdefghi", "20 C"), bot(None, KOELN), result(KOELN["id"], "9 C"), bot("Mild."), user("Bye")],
    "a user behind results": [user("Rome?"), bot(None, ROME), result("abcdefghi", "20 C"), user("And?")],
    "legacy": [user("Rome?"), {"role": "assistant", "content": None, "function_call": {"name": "get_weather", "arguments": "{\"city\": \"Rome\"}"}},
               {"role": "function", "name": "get_weather", "content": "20 C"}],
}


def plain(messages):
    """function_call and role function as tool_calls and role tool."""
    out = copy.deepcopy(messages)
    for i, m in enumerate(out):
        if "function_call" in m:
            m["tool_calls"] = [{"id": f"call_{i}_0", "type": "function", "function": m.pop("function_call")}]
            last = f"call_{i}_0"
        if m["role"] == "function":
            m.update(role="tool", tool_call_id=last)
        for c in m.get("tool_calls", []):
            if not m["content"]:
                m["content"] = ""
            c["function"]["arguments"] = json.loads(c["function"]["arguments"])
    return out


def nine(id):
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    if len(id) == 9 and all(c in letters for c in id):
        return id
    h = 14695981039346656037
    for b in id.encode():
        h = (h ^ b) * 1099511628211 % 2**64
    h ^= h >> 29
    out = ""
    for _ in range(9):
        out += letters[h % 62]
        h //= 62
    return out


def objects(messages):
    return plain(messages)


def short_ids(messages):
    out = plain(messages)
    for m in out:
        for c in m.get("tool_calls", []):
            c["id"] = nine(c["id"])
        if "tool_call_id" in m:
            m["tool_call_id"] = nine(m["tool_call_id"])
    return out


def as_text(messages):
    """Arguments as text."""
    out = plain(messages)
    for m in out:
        for c in m.get("tool_calls", []):
            c["function"]["arguments"] = json.dumps(c["function"]["arguments"], ensure_ascii=False)
    return out


def text_apart(messages):
    """Text beside a call is a message of its own."""
    out = []
    for m in messages:
        if m.get("tool_calls") and m["content"]:
            out.append(bot(m["content"]))
            m = {**m, "content": ""}
        out.append(m)
    return out


def one_each(messages):
    """One call a message, and its result behind it."""
    out, messages = [], plain(messages)
    taken = set()
    for i, m in enumerate(messages):
        if i in taken:
            continue
        if len(m.get("tool_calls", [])) < 2:
            out.append(m)
            continue
        for c in m["tool_calls"]:
            out.append({**m, "tool_calls": [c]})
            for k in range(i + 1, len(messages)):
                if messages[k].get("tool_call_id") == c["id"]:
                    taken.add(k)
                    out.append(messages[k])
    return out


def spelled(messages, calls, open, close, native_results=False):
    """Calls as text; results in the user's turn, with what he says behind them, unless the template knows them."""
    out = []
    for m in plain(messages):
        if m.get("tool_calls"):
            content = m["content"]
            m = bot((content + "\n" if content else "") + calls([(c["function"]["name"], json.dumps(c["function"]["arguments"], ensure_ascii=False))
                                                                 for c in m["tool_calls"]]))
        elif m["role"] == "tool" and not native_results:
            if out[-1].get("results"):
                out[-1]["content"] += "\n" + open + m["content"] + close
                continue
            m = {**user(open + m["content"] + close), "results": True}
        elif m["role"] == "user" and out and out[-1].get("results"):
            out[-1]["content"] += "\n" + m["content"]
            continue
        out.append(m)
    return out


RETURNED = "The function returned:\n"


def llama(calls):
    return "; ".join('{"name": "%s", "parameters": %s}' % c for c in calls)


def bare(calls):
    many = ", ".join('{"name": "%s", "arguments": %s}' % c for c in calls)
    return many if len(calls) == 1 else f"[{many}]"


def v3(calls):
    return "<｜tool▁calls▁begin｜>" + "\n".join("<｜tool▁call▁begin｜>function<｜tool▁sep｜>%s\n```json\n%s\n```<｜tool▁call▁end｜>" % c for c in calls) + "<｜tool▁calls▁end｜>"


FAMILIES = {
    "qwen3": objects,
    "llama3_1_tools": lambda m: text_apart(one_each(m)),
    "llama4": objects,
    "mixtral_8x22b": lambda m: text_apart(short_ids(m)),
    "deepseek_r1": lambda m: text_apart(as_text(m)),
    "deepseek_v3": lambda m: spelled(m, v3, RETURNED, "", native_results=True),
    "llama3_1_short": lambda m: spelled(m, llama, RETURNED, ""),
    "mixtral_8x7b": lambda m: spelled(m, bare, RETURNED, ""),
    "smollm2": lambda m: spelled(m, bare, RETURNED, ""),
}


def main():
    cases = []
    for family, adapt in FAMILIES.items():
        with open(f"{GOLDEN}/family_{family}.json") as f:
            file = json.load(f)
        source = file.get("template")
        if not source:
            with open(file["from"][0]) as f:
                source = json.load(f)[file["from"][1]]
        for name, messages in CONVERSATIONS.items():
            context = {**file["context"], "messages": adapt(messages), "tools": [TOOL], "add_generation_prompt": True}
            how, text = template.run(source, context)
            if how != "output" and family == "mixtral_8x22b" and name in ("text beside the call", "a user behind results"):
                continue  # its template raises: roles have to alternate
            assert how == "output", (family, name, how, text)
            cases.append({"family": family, "name": name, "output": text})
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, "w") as f:
        json.dump({"tool": TOOL, "conversations": CONVERSATIONS, "cases": cases}, f, ensure_ascii=False, indent=0)
        f.write("\n")


if __name__ == "__main__":
    main()
