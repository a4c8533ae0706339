// Quality over rate, drawn as SVG. Hover or the arrow keys read single points.
"use strict";

const COLOURS = ["#0b7bd8", "#d9541e", "#1e9e6a", "#b4469a", "#b58900", "#7b62d9", "#c0364c", "#0f9ba8", "#7d8590"];
const FRAME = { left: 46, right: 16, top: 14, bottom: 46 };

function drawing(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-9; value += step) found.push(value);
  return found.map((value) => Number(value.toFixed(6)));
}

function makeChart(place, curves, metrics) {
  const shown = new Set(curves.filter((curve) => curve.shown).map((curve) => curve.id));
  const svg = drawing("svg", { class: "chart", tabindex: 0, role: "application", "aria-label": "Quality over rate; arrow keys read the points" });
  const reading = element("p", { class: "reading", "aria-live": "polite" }, "Point at the chart, or use the arrow keys, to read a value.");
  const buttons = metrics.map((metric) => {
    const button = element("button", { type: "button" }, metric.title);
    button.addEventListener("click", () => { chosen = metric; draw(); });
    return button;
  });
  const logarithmic = element("input", { type: "checkbox" });
  logarithmic.addEventListener("change", () => draw());
  const legend = element("div", { class: "legend" });
  // What is shown from the start comes first, so that its colours differ.
  const order = [...curves.filter((curve) => curve.shown), ...curves.filter((curve) => !curve.shown)];
  order.forEach((curve, index) => { curve.colour = COLOURS[index % COLOURS.length]; });
  curves.forEach((curve) => {
    const box = element("input", { type: "checkbox" });
    box.checked = shown.has(curve.id);
    box.addEventListener("change", () => { box.checked ? shown.add(curve.id) : shown.delete(curve.id); draw(); });
    const line = element("span", { class: curve.published ? "line published" : "line" });
    line.style.borderTopColor = curve.colour;
    legend.append(element("label", {}, box, line, curve.title));
  });
  place.append(element("div", { class: "controls" }, ...(metrics.length > 1 ? buttons : []), element("label", {}, logarithmic, "logarithmic rate")), svg, reading, legend);

  let chosen = metrics[0];
  let targets = [];
  let current = null;

  function visible() {
    return curves.filter((curve) => shown.has(curve.id) && curve.points[chosen.id]);
  }
  function draw() {
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", metrics[index] === chosen));
    // In pixels of the screen, so that letters keep their size on a phone.
    FRAME.width = Math.max(300, place.clientWidth);
    FRAME.height = Math.max(300, Math.min(520, 0.56 * FRAME.width));
    svg.setAttribute("viewBox", `0 0 ${FRAME.width} ${FRAME.height}`);
    svg.replaceChildren();
    targets = [];
    current = null;
    const drawn = visible();
    if (!drawn.length) return;
    const own = drawn.filter((curve) => curve.own);
    const basis = (own.length ? own : drawn).flatMap((curve) => curve.points[chosen.id]);
    const all = drawn.flatMap((curve) => curve.points[chosen.id]);
    // The window belongs to the judged codec; what lies far outside it is cut off.
    const margin = own.length ? 3 : 0;
    const rates = basis.map((point) => point.bpp), values = basis.map((point) => point.value);
    const high = own.length ? Math.min(1.25 * Math.max(...rates), Math.max(...all.map((p) => p.bpp))) : Math.max(...rates);
    const low = logarithmic.checked ? 0.6 * Math.min(...rates) : 0;
    const bottom = Math.min(...values) - margin, top = Math.max(...values) + 0.7 * margin;
    const across = (bpp) => logarithmic.checked ? Math.log(bpp / low) / Math.log(high / low) : (bpp - low) / (high - low);
    const x = (bpp) => FRAME.left + across(bpp) * (FRAME.width - FRAME.left - FRAME.right);
    const y = (value) => FRAME.height - FRAME.bottom - (value - bottom) / (top - bottom) * (FRAME.height - FRAME.top - FRAME.bottom);
    for (const value of ticks(bottom, top, 7)) {
      svg.append(drawing("line", { class: "grid", x1: FRAME.left, x2: FRAME.width - FRAME.right, y1: y(value), y2: y(value) }));
      svg.append(drawing("text", { x: FRAME.left - 8, y: y(value) + 4, "text-anchor": "end" }, value));
    }
    const places = logarithmic.checked ? [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10].filter((v) => v >= low && v <= high) : ticks(low, high, FRAME.width / 100);
    for (const value of places) {
      svg.append(drawing("line", { class: "grid", y1: FRAME.top, y2: FRAME.height - FRAME.bottom, x1: x(value), x2: x(value) }));
      svg.append(drawing("text", { x: x(value), y: FRAME.height - FRAME.bottom + 20, "text-anchor": "middle" }, value));
    }
    svg.append(drawing("text", { x: (FRAME.left + FRAME.width) / 2, y: FRAME.height - 6, "text-anchor": "middle" }, "bits per pixel, from file bytes"));
    svg.append(drawing("text", { x: FRAME.left + 8, y: FRAME.top + 14 }, chosen.axis));
    const clip = drawing("clipPath", { id: "frame" });
    clip.append(drawing("rect", { x: FRAME.left, y: FRAME.top, width: FRAME.width - FRAME.left - FRAME.right, height: FRAME.height - FRAME.top - FRAME.bottom }));
    const group = drawing("g", { "clip-path": "url(#frame)" });
    svg.append(clip, group);
    for (const curve of [...drawn].sort((a, b) => Number(a.own) - Number(b.own))) {
      const points = curve.points[chosen.id];
      const path = points.map((point, index) => `${index ? "L" : "M"}${x(point.bpp).toFixed(1)} ${y(point.value).toFixed(1)}`).join("");
      const kind = curve.own ? " own" : curve.published ? " published" : "";
      group.append(drawing("path", { class: "curve" + kind, d: path, stroke: curve.colour }));
      points.forEach((point, index) => {
        const at = { x: x(point.bpp), y: y(point.value) };
        group.append(drawing("circle", { cx: at.x, cy: at.y, r: curve.own ? 5 : 3, fill: curve.colour }));
        if (at.x <= FRAME.width && at.y >= 0 && at.y <= FRAME.height && at.x >= 0) targets.push({ ...at, curve, point, index });
      });
    }
    ring.setAttribute("visibility", "hidden");
    svg.append(ring);
  }
  const ring = drawing("circle", { r: 9, fill: "none", stroke: "currentColor", "stroke-width": 2, visibility: "hidden" });
  function read(target) {
    if (!target) return;
    current = target;
    ring.setAttribute("cx", target.x);
    ring.setAttribute("cy", target.y);
    ring.setAttribute("visibility", "visible");
    const label = target.point.label ? ` (${target.point.label})` : "";
    const raw = target.point.raw === undefined ? "" : `, ${chosen.raw} ${target.point.raw.toFixed(4)}`;
    reading.textContent = `${target.curve.title}${label}: ${target.point.bpp.toFixed(3)} bpp, ${target.point.value.toFixed(2)} dB${raw}`;
  }
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const scale = FRAME.width / box.width;
    const at = { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
    const distance = (target) => (target.x - at.x) ** 2 + (target.y - at.y) ** 2;
    read(targets.reduce((best, each) => (best && distance(best) <= distance(each) ? best : each), null));
  });
  svg.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    if (!(event.key in steps) || !targets.length) return;
    event.preventDefault();
    const drawn = visible();
    const start = current || { curve: drawn.find((curve) => curve.own) || drawn[0], index: -1 };
    const [down, right] = steps[event.key];
    const curve = drawn[(drawn.indexOf(start.curve) + down + drawn.length) % drawn.length];
    const among = targets.filter((target) => target.curve === curve);
    const index = among.findIndex((target) => target.curve === start.curve && target.index === start.index);
    const nearest = among.reduce((best, each) => (best && Math.abs(best.x - start.x) <= Math.abs(each.x - start.x) ? best : each), null);
    read(down && current ? nearest : among[Math.max(0, Math.min(among.length - 1, index + right))]);
  });
  draw();
  addEventListener("resize", draw);
}
