// markdown.js - what a model writes, as elements: paragraphs, headings, lists, quotes, tables, rules, code, emphasis, links. HTML in it stays text, a
// link leads only to http, https or mail, and pictures are shown as the links that they are, so that no answer can fetch anything.
import { el, say } from "./dom.js";
import { highlight } from "./highlight.js";
import { t } from "./text.js";

function link(text, href) {
  let url;
  try { url = new URL(href); } catch { return text; }
  if (!["http:", "https:", "mailto:"].includes(url.protocol)) return text;
  return el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow" }, text);
}

// Emphasis and the like within a line. The pattern has no nested repetition: hostile text costs what it is long.
const inlinePattern = new RegExp([
  "(`+)([^`]+)\\1", // 1, 2: code
  "!?\\[([^\\]\\n]{0,500})\\]\\(([^()\\s]{1,2000})\\)", // 3, 4: a link's text and where it leads
  "\\*\\*(?=\\S)([^*\\n]{1,2000})\\*\\*", "\\b__(?=\\S)([^_\\n]{1,2000})__\\b", // 5, 6: strong
  "\\*(?=\\S)([^*\\n]{1,2000})\\*", "\\b_(?=\\S)([^_\\n]{1,2000})_\\b", // 7, 8: emphasis
  "~~([^~\\n]{1,2000})~~", // 9: struck out
  "(https?:\\/\\/[^\\s<>()\"'*`]{1,2000})", // 10: an address
].join("|"), "g");

export function inline(text, depth = 0) {
  const out = [];
  let last = 0;
  const inner = (s) => depth < 4 ? inline(s, depth + 1) : s;
  for (const m of text.matchAll(inlinePattern)) {
    if (m.index > last) out.push(text.slice(last, m.index));
    if (m[2] !== undefined) out.push(el("code", {}, m[2].trim() || m[2]));
    else if (m[4] !== undefined) out.push(link(m[3] || m[4], m[4]));
    else if (m[5] ?? m[6]) out.push(el("strong", {}, inner(m[5] ?? m[6])));
    else if (m[7] ?? m[8]) out.push(el("em", {}, inner(m[7] ?? m[8])));
    else if (m[9]) out.push(el("s", {}, inner(m[9])));
    else out.push(link(m[10], m[10]));
    last = m.index + m[0].length;
  }
  out.push(text.slice(last));
  return out;
}

export function codeBlock(code, language) {
  const copy = el("button.small", {
    onclick: () => navigator.clipboard.writeText(code).then(() => say(t("copied")), () => say(t("notCopied"), true)),
  }, t("copy"));
  return el("figure.code", {}, el("figcaption", {}, el("span", {}, language || ""), copy),
    el("pre", { tabindex: "0", dir: "ltr" }, el("code", {}, highlight(code, (language || "").toLowerCase()))));
}

const bullet = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const cells = (line) => line.replace(/^\s*\||\|\s*$/g, "").split("|").map((c) => c.trim());

function list(lines, at, depth) {
  const first = bullet.exec(lines[at]), indent = first[1].length;
  const ordered = /\d/.test(first[2]);
  const node = el(ordered ? "ol" : "ul", ordered ? { start: parseInt(first[2], 10) } : {});
  let item;
  while (at < lines.length) {
    const m = bullet.exec(lines[at]);
    if (m && m[1].length > indent && item && depth < 8) {
      const [inner, next] = list(lines, at, depth + 1);
      item.append(inner);
      at = next;
    } else if (m && (m[1].length >= indent || depth === 0) && /\d/.test(m[2]) === ordered) {
      item = el("li", {}, inline(m[3]));
      node.append(item);
      at++;
    } else if (!m && item && /^\s+\S/.test(lines[at])) {
      item.append(" ", ...inline(lines[at].trim()));
      at++;
    } else break;
  }
  return [node, at];
}

// Elements for the whole text. It may be unfinished: an open code block goes to the end.
export function markdown(text) {
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  const out = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    let m;
    if ((m = /^\s*(```+|~~~+)\s*([\w+#.-]*)/.exec(line))) {
      let end = at + 1;
      while (end < lines.length && !lines[end].trim().startsWith(m[1])) end++;
      out.push(codeBlock(lines.slice(at + 1, end).join("\n"), m[2]));
      at = end + 1;
    } else if ((m = /^(#{1,6})\s+(.*)$/.exec(line))) {
      out.push(el(`h${Math.min(6, m[1].length + 2)}`, {}, inline(m[2])));
      at++;
    } else if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) {
      out.push(el("hr"));
      at++;
    } else if (line.startsWith(">")) {
      let end = at;
      while (end < lines.length && lines[end].startsWith(">")) end++;
      out.push(el("blockquote", {}, lines.slice(at, end).map((l) => el("p", {}, inline(l.replace(/^>+\s?/, ""))))));
      at = end;
    } else if (line.includes("|") && at + 1 < lines.length && /^[\s|:-]+$/.test(lines[at + 1]) && lines[at + 1].includes("-")) {
      const head = cells(line), rows = [];
      for (at += 2; at < lines.length && lines[at].includes("|"); at++) rows.push(cells(lines[at]));
      out.push(el("table", {}, el("thead", {}, el("tr", {}, head.map((c) => el("th", {}, inline(c))))),
        el("tbody", {}, rows.map((r) => el("tr", {}, r.slice(0, head.length).map((c) => el("td", {}, inline(c))))))));
    } else if (bullet.test(line)) {
      const [node, next] = list(lines, at, 0);
      out.push(node);
      at = next;
    } else if (!line.trim()) {
      at++;
    } else {
      const paragraph = el("p", { dir: "auto" });
      for (; at < lines.length && lines[at].trim() && !bullet.test(lines[at]) && !/^(\s*```|\s*~~~|#{1,6}\s|>)/.test(lines[at]); at++) {
        if (paragraph.childNodes.length) paragraph.append(el("br"));
        paragraph.append(...inline(lines[at]));
      }
      out.push(paragraph);
    }
  }
  return out;
}
