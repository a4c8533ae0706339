// Two views of one picture under a divider: range input, pointer and keyboard move it.
"use strict";

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function makeSlider(place, slides) {
  if (!slides.length) { place.hidden = true; return; }
  const choose = (label, titles) => {
    const select = element("select", {});
    titles.forEach((title, index) => select.append(element("option", { value: index }, title)));
    return [select, element("label", {}, label, select)];
  };
  const [picture, pictureLabel] = choose("Picture", slides.map((slide) => slide.title));
  const [left, leftLabel] = choose("Left", []);
  const [right, rightLabel] = choose("Right", []);
  const zooms = [["Fit", 0], ["1:1", 1], ["2\u00d7", 2], ["4\u00d7", 4]].map(([text, factor]) => {
    const button = element("button", { type: "button", "aria-pressed": factor === 0 }, text);
    button.addEventListener("click", () => setZoom(factor));
    return { button, factor };
  });
  const images = { left: element("img", { class: "left" }), right: element("img", {}) };
  const divider = element("div", { class: "divider" });
  const stage = element("div", { class: "stage" }, images.right, images.left, divider);
  const viewport = element("div", { class: "viewport", tabindex: 0, role: "group", "aria-label": "Picture, scrolls when enlarged" }, stage);
  const range = element("input", { type: "range", class: "divide", min: 0, max: 100, step: 0.5, value: 50, "aria-label": "Divider between left and right" });
  const captions = { left: element("span"), right: element("span") };
  const cropped = element("p", { class: "quiet" }, "Shown is the middle of the picture.");
  place.append(
    element("div", { class: "controls" }, ...(slides.length > 1 ? [pictureLabel] : []), leftLabel, rightLabel),
    element("div", { class: "controls", role: "group", "aria-label": "Zoom" }, ...zooms.map((z) => z.button)),
    viewport, range, element("div", { class: "captions" }, captions.left, captions.right), cropped);

  let zoom = 0;
  const move = () => {
    images.left.style.clipPath = `inset(0 ${100 - range.value}% 0 0)`;
    divider.style.left = `${range.value}%`;
  };
  function setZoom(factor) {
    zoom = factor;
    zooms.forEach((each) => each.button.setAttribute("aria-pressed", each.factor === factor));
    // One pixel of the picture on `factor` pixels of the screen, whatever its density.
    const width = images.right.naturalWidth * factor / (window.devicePixelRatio || 1);
    stage.style.width = factor ? `${width}px` : "auto";
  }
  function show() {
    const views = slides[picture.value].views;
    for (const [side, select] of [["left", left], ["right", right]]) {
      const view = views[select.value];
      images[side].src = view.source;
      images[side].alt = view.caption;
      captions[side].textContent = view.caption;
    }
    cropped.hidden = !slides[picture.value].cropped;
    setZoom(zoom);
  }
  function choosePicture() {
    const views = slides[picture.value].views;
    const before = [left.value || 1, right.value || Math.min(2, views.length - 1)];
    [left, right].forEach((select, side) => {
      select.replaceChildren(...views.map((view, index) => element("option", { value: index }, view.title)));
      select.value = Math.min(before[side], views.length - 1);
    });
    show();
  }
  const drag = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const box = stage.getBoundingClientRect();
    range.value = 100 * (event.clientX - box.left) / box.width;
    move();
  };
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("pointermove", drag);
  range.addEventListener("input", move);
  images.right.addEventListener("load", () => setZoom(zoom));
  picture.addEventListener("change", choosePicture);
  left.addEventListener("change", show);
  right.addEventListener("change", show);
  choosePicture();
  move();
}
