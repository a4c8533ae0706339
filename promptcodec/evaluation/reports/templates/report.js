// Tables and facts of a report, from the data in the page.
"use strict";

function number(value, digits) {
  return value === null || value === undefined ? "\u2013" : value.toFixed(digits);
}

function signed(value, digits) {
  return value === null || value === undefined ? "\u2013" : (value > 0 ? "+" : "") + value.toFixed(digits);
}

function estimate(found, digits, better) {
  if (!found || found.value === null) return element("td", {}, "\u2013");
  const interval = found.low === null ? "" : ` (${signed(found.low, digits)} to ${signed(found.high, digits)})`;
  return element("td", { class: found.value * better > 0 ? "good" : "bad" }, signed(found.value, digits) + interval);
}

function table(place, head, rows) {
  const line = element("tr");
  head.forEach((text) => line.append(element("th", { scope: "col" }, text)));
  const body = element("tbody");
  rows.forEach((cells) => {
    const row = element("tr");
    cells.forEach((cell) => row.append(cell instanceof Node ? cell : element("td", {}, cell)));
    body.append(row);
  });
  const box = element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Table" });
  box.append(element("table", {}, element("thead", {}, line), body));
  place.append(box);
}

function makeReport(data) {
  const at = (id) => document.getElementById(id);
  makeChart(at("chart"), data.curves, data.metrics);

  for (const metric of data.metrics) {
    const rows = data.comparisons.filter((each) => each.metric === metric.id);
    if (!rows.length) continue;
    const segments = data.segments;
    at("deltas").append(element("h3", {}, `At equal ${metric.title}`));
    table(at("deltas"), ["against", "our bpp", "BD-rate (%)", "BD-quality (dB)", ...segments.map((s) => `${s.title} (%)`)],
      rows.map((each) => [each.title, each.range_bpp ? each.range_bpp.map((rate) => rate.toFixed(2)).join(" to ") : "\u2013", estimate(each.bd_rate, 1, -1), estimate(each.bd_quality, 2, 1),
        ...segments.map((s) => estimate(each.segments.find((found) => found.low_bpp === s.low_bpp)?.bd_rate, 1, -1))]));
  }
  if (!data.comparisons.length) at("deltas").append(element("p", {}, "A curve needs at least four rates."));

  makeSlider(at("slider"), data.slides);
  at("looks").hidden = !data.slides.length;

  // Processes that share a machine slow each other down: their times are not shown.
  const timeHeads = data.alone ? ["encode (s)", "decode (s)"] : [];
  const times = (each) => (data.alone ? [number(each.encode_seconds, 2), number(each.decode_seconds, 2)] : []);
  table(at("points"), ["rate", "bpp", ...data.metrics.map((m) => m.raw), ...timeHeads],
    data.points.map((point) => [point.label, number(point.bpp, 3), ...data.metrics.map((m) => number(point[m.field], m.digits)),
      ...times(point)]));

  const select = element("select", { "aria-label": "Rate" });
  data.points.forEach((point, index) => select.append(element("option", { value: index }, point.label)));
  const rows = element("div");
  const showPictures = () => {
    rows.replaceChildren();
    table(rows, ["picture", "size", "bytes", "bpp", ...data.metrics.map((m) => m.raw), ...timeHeads],
      data.points[select.value].pictures.map((each) => [each.picture, `${each.width}\u00d7${each.height}`, each.bytes.toLocaleString("en"),
        number(each.bpp, 3), ...data.metrics.map((m) => number(each[m.field], m.digits)), ...times(each)]));
  };
  select.addEventListener("change", showPictures);
  at("pictures").append(element("div", { class: "controls" }, element("label", {}, "Rate", select)), rows);
  showPictures();

  data.notes.forEach((note) => at("notes").append(element("li", {}, note)));
  at("notes").hidden = !data.notes.length;
  table(at("facts"), ["fact", "value"], data.facts.map(([name, value]) => [name, element("td", { class: "text" }, value)]));
}

makeReport(JSON.parse(document.getElementById("data").textContent));
