// dashboard.js - what the server does just now, out of /metrics, and for administrators what was used and the keys.
import { ask, call, modelList, shortName } from "./api.js";
import { el, fill } from "./dom.js";
import { t } from "./text.js";

let timer, before;

// Prometheus' text format: name -> [{labels, value}].
export function parseMetrics(text) {
  const out = new Map();
  for (const line of text.split("\n")) {
    const m = /^([a-z_:][\w:]*)(?:\{(.*)\})? (\S+)/i.exec(line);
    if (!m) continue;
    const labels = {};
    for (const l of (m[2] || "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[l[1]] = l[2];
    if (!out.has(m[1])) out.set(m[1], []);
    out.get(m[1]).push({ labels, value: Number(m[3]) });
  }
  return out;
}

const sum = (metrics, name, labels = {}) => (metrics.get(name) || []).filter((x) => Object.entries(labels).every(([k, v]) => x.labels[k] === v)).reduce((a, x) => a + x.value, 0);

function size(n) {
  for (const unit of ["B", "KB", "MB", "GB"]) {
    if (n < 1000) return `${n.toFixed(n < 10 && unit !== "B" ? 1 : 0)} ${unit}`;
    n /= 1000;
  }
  return `${n.toFixed(1)} TB`;
}

function duration(s) {
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return `${(s / 3600).toFixed(1)} h`;
}

const card = (label, value) => el("div.card", {}, el("strong", {}, value), el("span", {}, label));

// Bars of a histogram: how many fell between one bound and the next.
function histogram(metrics, name, title) {
  const rows = metrics.get(`${name}_bucket`) || [];
  if (!rows.length || !sum(metrics, `${name}_count`)) return null;
  const bars = rows.map((r, i) => [r.labels.le, r.value - (i ? rows[i - 1].value : 0)]);
  const most = Math.max(...bars.map((b) => b[1]), 1);
  const mean = sum(metrics, `${name}_sum`) / sum(metrics, `${name}_count`);
  return el("section.histogram", { "aria-label": title }, el("h3", {}, `${title}: ⌀ ${mean < 1 ? `${(mean * 1000).toFixed(0)} ms` : `${mean.toFixed(2)} s`}`),
    el("div.bars", {}, bars.map(([le, n]) => {
      const bar = el("i", { title: `≤ ${le} s: ${n}` });
      bar.style.height = `${Math.round(60 * n / most)}px`;
      return bar;
    })));
}

function modelTable(metrics, list) {
  const of = (name, id) => sum(metrics, name, { model: id });
  return el("table", {}, el("thead", {}, el("tr", {}, [t("model"), t("running"), t("queue"), t("generated"), t("cache"), t("memory")].map((h) => el("th", {}, h)))),
    el("tbody", {}, list.map((m) => {
      const speed = before ? Math.max(0, of("hearth_generated_tokens_total", m.id) - sum(before.metrics, "hearth_generated_tokens_total", { model: m.id })) / before.seconds() : 0;
      return el("tr", {}, el("td", {}, shortName(m.id)), el("td", {}, of("hearth_running", m.id)), el("td", {}, of("hearth_queue", m.id)), el("td", {}, speed.toFixed(1)),
        el("td", {}, of("hearth_kv_pages", m.id) ? `${of("hearth_kv_pages_used", m.id)} / ${of("hearth_kv_pages", m.id)}` : ""),
        el("td", {}, of("hearth_model_resident_bytes", m.id) ? size(of("hearth_model_resident_bytes", m.id)) : "–"));
    })));
}

function rows(title, names, list, cells) {
  return el("section", {}, el("h3", {}, title), el("table", {}, el("thead", {}, el("tr", {}, names.map((n) => el("th", {}, n)))),
    el("tbody", {}, list.map((r) => el("tr", {}, cells(r).map((c) => el("td", {}, c === undefined || c === null ? "" : String(c))))))));
}

async function account(box) {
  try {
    const [usage, keys] = await Promise.all([ask("GET", "/admin/v1/usage"), ask("GET", "/admin/v1/keys")]);
    fill(box, rows(t("usage"), [t("model"), t("requests"), t("tokens"), t("pictures"), t("spent")], usage.data,
      (r) => [r.name, r.requests, r.prompt_tokens + r.completion_tokens, r.pictures, `$${r.cost}`]),
    rows(t("keys"), [t("key"), t("project"), "id", t("state")], keys.data, (k) => [k.name, k.project, k.id, k.state]));
  } catch (e) {
    fill(box, el("p.facts", {}, e.status === 403 || e.status === 401 ? t("adminOnly") : t("noStore")));
  }
}

async function refresh(live, list) {
  const [text, ready] = await Promise.all([call("GET", "/metrics").then((r) => r.text()), fetch("/ready").then((r) => r.json())]);
  const metrics = parseMetrics(text), now = performance.now();
  const rate = (name) => before ? Math.max(0, sum(metrics, name) - sum(before.metrics, name)) / before.seconds() : 0;
  fill(live, el("div.cards", {},
    card(ready.away ? ready.away.join(", ") : "", ready.ready ? t("ready") : ready.away ? t("away") : t("notReady")),
    card(t("active"), sum(metrics, "hearth_active_requests")), card(t("queue"), sum(metrics, "hearth_queue")),
    card(t("generated"), rate("hearth_generated_tokens_total").toFixed(1)), card(t("prompts"), rate("hearth_prompt_tokens_total").toFixed(1)),
    card(t("stepsPerSecond"), rate("hearth_used_steps_total").toFixed(1)),
    card(t("memory"), size(sum(metrics, "hearth_model_resident_bytes"))), card(t("uptime"), duration(sum(metrics, "hearth_uptime_seconds")))),
  modelTable(metrics, list),
  el("div.grid", {}, histogram(metrics, "hearth_time_to_first_token_seconds", t("firstToken")), histogram(metrics, "hearth_inter_token_seconds", t("between")),
    histogram(metrics, "hearth_request_duration_seconds", t("whole"))));
  const at = now;
  before = { metrics, seconds: () => Math.max(0.001, (performance.now() - at) / 1000) };
}

export async function show(room) {
  clearInterval(timer);
  const live = el("section"), box = el("section");
  fill(room, el("div.column", {}, live, box));
  const whole = await modelList(true), list = whole.data;
  before = undefined;
  await refresh(live, list);
  account(box);
  if (whole.unavailable && whole.unavailable.length)
    room.firstChild.append(rows(t("unavailable"), [t("model"), t("problem")], whole.unavailable, (m) => [m.id, m.problem]));
  timer = setInterval(() => {
    if (!live.isConnected) clearInterval(timer);
    else refresh(live, list).catch(() => fill(live, el("p.bad", { role: "alert" }, t("unreachable"))));
  }, 2000);
}
