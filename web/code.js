// code.js - the request that a form stands for, as code: curl, Python with openai's and with Fireworks' client, JavaScript.
import { el, fill } from "./dom.js";
import { codeBlock } from "./markdown.js";
import { t } from "./text.js";

const shellQuote = (s) => `'${s.replaceAll("'", "'\\''")}'`;
const json = (v, indent = 2) => JSON.stringify(v, null, indent);

export function python(v, indent = 0) {
  const pad = " ".repeat(indent + 4), end = " ".repeat(indent);
  if (v === null) return "None";
  if (typeof v === "boolean") return v ? "True" : "False";
  if (typeof v === "number") return String(v);
  if (typeof v === "string") return json(v);
  if (Array.isArray(v)) return v.length ? `[\n${v.map((x) => pad + python(x, indent + 4)).join(",\n")}\n${end}]` : "[]";
  return `{\n${Object.entries(v).map(([k, x]) => `${pad}${json(k)}: ${python(x, indent + 4)}`).join(",\n")}\n${end}}`;
}

const openaiNames = new Set(["model", "messages", "temperature", "max_tokens", "top_p", "frequency_penalty", "presence_penalty", "seed", "stop", "tools",
  "response_format", "reasoning_effort", "stream", "stream_options", "prompt", "n", "size", "quality", "output_format", "partial_images"]);

function pythonArguments(body, known) {
  const plain = [], extra = {};
  for (const [k, v] of Object.entries(body)) {
    if (!known || known.has(k)) plain.push(`    ${k}=${python(v, 4)},`);
    else extra[k] = v;
  }
  if (Object.keys(extra).length) plain.push(`    extra_body=${python(extra, 4)},`);
  return plain.join("\n");
}

const chatPrint = "for chunk in answer:\n    if chunk.choices and chunk.choices[0].delta.content:\n        print(chunk.choices[0].delta.content, end=\"\", flush=True)\n";
const picturePrint = "for i, picture in enumerate(answer.data):\n    open(f\"picture-{i}.png\", \"wb\").write(base64.b64decode(picture.b64_json))\n";

// kind: "chat" or "pictures"; body: as it would be sent.
export function samples(kind, body) {
  const origin = location.origin;
  const path = kind === "chat" ? "/v1/chat/completions" : "/v1/images/generations";
  const shown = kind === "chat" ? { ...body, stream: true } : body;
  const method = kind === "chat" ? "chat.completions.create" : "images.generate";
  const openai = `import ${kind === "chat" ? "os" : "base64, os"}\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${origin}/v1", api_key=os.environ.get("HEARTH_KEY", "none"))\n`
    + `answer = client.${method}(\n${pythonArguments(shown, openaiNames)}\n)\n${kind === "chat" ? chatPrint : picturePrint}`;
  const fireworks = kind === "chat"
    ? `import os\n\nfrom fireworks import Fireworks\n\nclient = Fireworks(base_url="${origin}/inference/v1", api_key=os.environ.get("HEARTH_KEY", "none"))\n`
      + `answer = client.chat.completions.create(\n${pythonArguments(shown, null)}\n)\n${chatPrint}`
    : `import base64, os\n\nimport requests\n\nreply = requests.post("${origin}/inference/v1/images/generations", headers={"Authorization": f"Bearer {os.environ.get('HEARTH_KEY', 'none')}"},\n`
      + `                      json=${python(shown, 22)})\nreply.raise_for_status()\nfor i, picture in enumerate(reply.json()["data"]):\n    open(f"picture-{i}.png", "wb").write(base64.b64decode(picture["b64_json"]))\n`;
  const script = `const reply = await fetch("${origin}${path}", {\n  method: "POST",\n  headers: { "Content-Type": "application/json", Authorization: \`Bearer \${process.env.HEARTH_KEY}\` },\n`
    + `  body: JSON.stringify(${json(body).replaceAll("\n", "\n  ")}),\n});\nconst answer = await reply.json();\n`
    + (kind === "chat" ? "console.log(answer.choices[0].message.content);\n" : "for (const [i, p] of answer.data.entries()) require(\"fs\").writeFileSync(`picture-${i}.png`, Buffer.from(p.b64_json, \"base64\"));\n");
  return [
    ["curl", "sh", `curl ${origin}${path} \\\n  -H "Authorization: Bearer $HEARTH_KEY" \\\n  -H 'Content-Type: application/json' \\\n  -d ${shellQuote(json(shown))}\n`],
    ["Python: openai", "python", openai],
    ["Python: fireworks", "python", fireworks],
    ["JavaScript", "js", script],
  ];
}

// make() gives [kind, body], or throws what is wrong with the form.
export function codeButton(make) {
  return el("button", {
    onclick: () => {
      let all;
      try { all = samples(...make()); } catch (e) { all = [[t("problem"), "", e.message]]; }
      const shown = el("div", {});
      const dialog = el("dialog.wide", { "aria-label": t("code"), onclose: () => dialog.remove() },
        el("div.row", { role: "tablist" }, all.map(([name], i) => el("button", { role: "tab", onclick: () => show(i) }, name)),
          el("span.grow"), el("button", { onclick: () => dialog.close() }, t("close"))), shown);
      const show = (i) => fill(shown, codeBlock(all[i][2], all[i][1]));
      show(0);
      document.body.append(dialog);
      dialog.showModal();
    },
  }, t("code"));
}
