// mask.js - paints over a picture what may change. The mask that leaves is a PNG of the picture's size, transparent where it was painted, as
// OpenAI's edits take it.
import { el, field } from "./dom.js";
import { t } from "./text.js";

// url: of the picture. The result has .node to show and .blob(), null while nothing is painted.
export async function maskPainter(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const width = image.naturalWidth, height = image.naturalHeight;
  const canvas = el("canvas.mask", { width, height, tabindex: "0", role: "img", "aria-label": t("mask") });
  const paint = document.createElement("canvas"); // white where it was painted
  paint.width = width;
  paint.height = height;
  const at = paint.getContext("2d"), view = canvas.getContext("2d");
  let painted = false, last, radius = Math.max(4, Math.round(Math.min(width, height) / 12));

  const show = () => {
    view.globalCompositeOperation = "source-over";
    view.drawImage(image, 0, 0);
    view.globalAlpha = 0.55;
    view.drawImage(paint, 0, 0);
    view.globalAlpha = 1;
  };
  const point = (e) => {
    const r = canvas.getBoundingClientRect();
    return [(e.clientX - r.left) * width / r.width, (e.clientY - r.top) * height / r.height];
  };
  const line = (from, to) => {
    at.strokeStyle = at.fillStyle = "#ff3080";
    at.lineCap = "round";
    at.lineWidth = 2 * radius;
    at.beginPath();
    at.moveTo(...from);
    at.lineTo(to[0] + 0.01, to[1]);
    at.stroke();
    painted = true;
    show();
  };
  canvas.addEventListener("pointerdown", (e) => {
    canvas.setPointerCapture(e.pointerId);
    last = point(e);
    line(last, last);
  });
  canvas.addEventListener("pointermove", (e) => {
    if (!last) return;
    const now = point(e);
    line(last, now);
    last = now;
  });
  const up = () => { last = undefined; };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  const clear = () => {
    at.clearRect(0, 0, width, height);
    painted = false;
    show();
  };
  show();
  const node = el("div.column", {}, canvas, el("div.row", {},
    field(t("brush"), el("input", { type: "range", min: 1, max: Math.round(Math.min(width, height) / 3), value: radius, oninput: (e) => { radius = Number(e.target.value); } })),
    el("button", { onclick: clear }, t("clear"))));
  return {
    node,
    blob() {
      if (!painted) return Promise.resolve(null);
      const out = document.createElement("canvas");
      out.width = width;
      out.height = height;
      const c = out.getContext("2d");
      c.fillStyle = "#000";
      c.fillRect(0, 0, width, height);
      c.globalCompositeOperation = "destination-out";
      c.drawImage(paint, 0, 0);
      return new Promise((done) => out.toBlob(done, "image/png"));
    },
  };
}
