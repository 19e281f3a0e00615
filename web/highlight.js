// highlight.js - colours for code: comments, strings, numbers, words that most languages reserve. One pass of one pattern; what it does not know
// stays as it is.
import { el } from "./dom.js";

const words = new Set(("abstract and as assert async await auto bool break case catch char class const continue def default del delete do double elif else "
  + "enum except export extends extern false final finally float fn for from func function global goto if impl implements import in include int interface is "
  + "lambda let long loop match mod mut namespace new nil none not null or override package pass private protected pub public raise return self short "
  + "signed sizeof static struct super switch template this throw throws trait true try type typedef typeof undefined union unsigned use using var virtual "
  + "void where while with yield select insert update delete create table join group order by limit values set fi done then echo None True False").split(" "));
const hashed = new Set(["py", "python", "sh", "bash", "shell", "ruby", "rb", "yaml", "yml", "toml", "r", "perl", "make", "dockerfile", "console"]);

export function highlight(code, language) {
  const comment = hashed.has(language) ? "#[^\\n]*" : language === "sql" || language === "lua" ? "--[^\\n]*" : "\\/\\/[^\\n]*|\\/\\*[\\s\\S]*?\\*\\/";
  const pattern = new RegExp(`(${comment})|("(?:[^"\\\\\\n]|\\\\.)*"|'(?:[^'\\\\\\n]|\\\\.)*'|\`[^\`]*\`)|(\\b\\d[\\w.]*)|([A-Za-z_][\\w]*)`, "g");
  const out = [];
  let last = 0;
  for (const m of code.matchAll(pattern)) {
    const kind = m[1] ? "comment" : m[2] ? "string" : m[3] ? "number" : words.has(m[4]) ? "word" : "";
    if (!kind) continue;
    if (m.index > last) out.push(code.slice(last, m.index));
    out.push(el(`span.c-${kind}`, {}, m[0]));
    last = m.index + m[0].length;
  }
  out.push(code.slice(last));
  return out;
}
