#!/usr/bin/env python3
"""manifests.py [NAME=VALUE...]: the Helm chart's objects as plain manifests, for clusters without Helm; deploy/kubernetes/hearth.yaml is made by
`tools/package/manifests.py serviceMonitor.enabled=true`.

It knows the part of Helm's templates that the chart keeps to: values, quote, toYaml with nindent, if, else and end. That is no proof of what Helm
makes of it.
"""
import json
import re
import sys
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parents[2] / "deploy/helm/hearth"


def look_up(path, scope):
    value = scope
    for part in path.strip(".").split("."):
        value = value[part]
    return value


def expand(expression, scope):
    value, *pipes = [p.strip() for p in expression.split("|")]
    if value.startswith("toYaml "):
        value = yaml.safe_dump(look_up(value.split()[1], scope), sort_keys=False, default_flow_style=False).strip()
    else:
        value = look_up(value, scope)
    for pipe in pipes:
        word, *args = pipe.split()
        if word == "quote":
            value = json.dumps(str(value))
        elif word == "nindent":
            value = "\n" + "\n".join(" " * int(args[0]) + line for line in value.split("\n"))
        else:
            raise ValueError(f"{word} is not among what manifests.py knows of Helm")
    return str(value)


def render(text, scope):
    out, on = "", [True]
    for piece in re.split(r"(\s*\{\{-.*?\}\}|\{\{.*?\}\})", text):
        if not re.match(r"\s*\{\{", piece):
            out += piece if all(on) else ""
            continue
        expression = piece.strip().removeprefix("{{").removeprefix("-").removesuffix("}}").strip()
        if expression.startswith("if "):
            on.append(bool(look_up(expression[3:], scope)))
        elif expression == "else":
            on[-1] = not on[-1]
        elif expression == "end":
            on.pop()
        elif all(on):
            out += expand(expression, scope)
    return out


def manifests(settings):
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for setting in settings:
        name, value = setting.split("=", 1)
        *path, last = name.split(".")
        (look_up(".".join(path), values) if path else values)[last] = yaml.safe_load(value)
    return render((CHART / "templates/hearth.yaml").read_text(), {"Values": values, "Release": {"Name": "hearth"}})


if __name__ == "__main__":
    print("# Printed by tools/package/manifests.py " + " ".join(sys.argv[1:]) + " from the Helm chart's templates. The secret that it names is made by\n"
          "#   kubectl create secret generic fireworks-secret --from-literal=api-key=$(openssl rand -hex 24)")
    print(manifests(sys.argv[1:]), end="")
