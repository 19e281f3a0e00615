"""What lies in deploy/ for Kubernetes, Prometheus and Grafana, held against schemas and against what the server really says."""
import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from certificates import Authority
from conftest import ROOT, Server

DEPLOY = ROOT / "deploy"


def manifests(*settings):
    r = subprocess.run([sys.executable, ROOT / "tools/package/manifests.py", *settings], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return r.stdout


@pytest.mark.parametrize("settings", [(), ("serviceMonitor.enabled=true",), ("autoscaling.enabled=false",), ("models.storageClass=fast",),
                                      ("env=[{name: HEARTH_CTX, value: '4096'}]",), ("clients={app: web}",)])
def test_the_chart_makes_valid_objects(settings):
    validate = pytest.importorskip("kubernetes_validate")
    objects = list(yaml.safe_load_all(manifests(*settings)))
    kinds = {o["kind"] for o in objects}
    assert {"ServiceAccount", "PersistentVolumeClaim", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"} <= kinds
    assert ("HorizontalPodAutoscaler" in kinds) == ("autoscaling.enabled=false" not in settings)
    for o in objects:
        if o["kind"] != "ServiceMonitor":  # the operator's, of which the schemas know nothing
            validate.validate(o, "1.30", strict=True)


def test_the_manifests_are_the_charts():
    assert (DEPLOY / "kubernetes/hearth.yaml").read_text() == manifests("serviceMonitor.enabled=true")
    d = next(o for o in yaml.safe_load_all(manifests()) if o["kind"] == "Deployment")
    pod = d["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["ports"][0]["containerPort"] == 3000 and container["livenessProbe"]["httpGet"]["path"] == "/health"
    drain = int(re.search(r"`--drain-time SECONDS` \| `\w+` \| (\d+)", (ROOT / "docs/options.md").read_text())[1])
    assert pod["terminationGracePeriodSeconds"] >= container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain + 2


def used_names(text):
    return set(re.findall(r"\bhearth_[a-z0-9_]+", text))


def test_metrics_that_are_shown_exist(tmp_path):
    """Of a server that has all that counts something: a store, routes, HTTPS, a log."""
    routes = tmp_path / "routes.yaml"
    routes.write_text("version: 1\nupstreams:\n  - name: far\n    base_url: http://127.0.0.1:9\n    models: [{ name: m }]\n")
    ca = Authority(tmp_path)
    cert, key = ca.sign()
    shutil.copytree(ROOT / "tests/golden/lm/chat", tmp_path / "models/tiny")
    s = Server("tiny", "--store", str(tmp_path / "a.db"), "--routes", str(routes), "--tls-cert", str(cert), "--tls-key", str(key), "--access-log", str(tmp_path / "log"),
               "--keys", "a-key-of-the-test", models=str(tmp_path / "models"), ca=str(ca.ca))
    text = s.get("/metrics", headers={"Authorization": "Bearer a-key-of-the-test"}).text
    s.stop()
    there = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)", text, re.M):
        there |= {name + end for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    board = json.loads((DEPLOY / "grafana/hearth.json").read_text())
    shown = used_names(" ".join(t["expr"] for p in board["panels"] for t in p["targets"]) + board["templating"]["list"][1]["query"])
    alerted = used_names(" ".join(r["expr"] for g in yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"] for r in g["rules"]))
    scaled = used_names(manifests()) - {"hearth"}
    assert len(shown) > 20 and len(alerted) > 7 and scaled == {"hearth_queue"}
    assert not (shown | alerted | scaled) - there


def test_alerts_fire():
    if not shutil.which("promtool"):
        pytest.skip("promtool is not here; tools/setup/packages.sh test installs it")
    for what in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        r = subprocess.run(["promtool", *what], cwd=DEPLOY / "prometheus", capture_output=True, text=True)
        assert r.returncode == 0, r.stdout + r.stderr


def test_compose_file_is_read():
    services = yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text())["services"]
    assert set(services) == {"hearth", "postgres", "redis"}
    known = set(re.findall(r"`(HEARTH_\w+)`", (ROOT / "docs/options.md").read_text()))
    named = set(k for k in services["hearth"]["environment"] if k.startswith("HEARTH_"))
    used = named | set(re.findall(r"\b(HEARTH_[A-Z_]+)=", (DEPLOY / "docker/Dockerfile").read_text())) | set(re.findall(r"name: (HEARTH_\w+)", manifests()))
    assert used and used <= known
