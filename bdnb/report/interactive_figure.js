// Draws a live figure: see live.py, which puts this script and its data into the page.
function bdnbLive(name) {
  "use strict";
  const SHAPES = {
    o: "M5 0A5 5 0 1 1 -5 0A5 5 0 1 1 5 0Z",
    s: "M-4.5 -4.5H4.5V4.5H-4.5Z",
    "^": "M0 -5.5L5.5 4.5H-5.5Z",
    D: "M0 -6L6 0L0 6L-6 0Z",
    v: "M0 5.5L5.5 -4.5H-5.5Z",
    P: "M-2 -5.5H2V-2H5.5V2H2V5.5H-2V2H-5.5V-2H-2Z",
    X: "M-5 -3L-3 -5L0 -2L3 -5L5 -3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0Z",
    "<": "M-5.5 0L4.5 -5.5V5.5Z",
    ">": "M5.5 0L-4.5 -5.5V5.5Z",
    star: "M0 -9L2.1 -2.9H8.6L3.4 1.1L5.3 7.3L0 3.6L-5.3 7.3L-3.4 1.1L-8.6 -2.9H-2.1Z",
  };
  const BOX = { width: 380, height: 300, left: 46, right: 10, top: 8, bottom: 44 };
  const CHOICES = [
    ["pretrain_objective", "pre-trained with"],
    ["loss", "cleaning loss"],
    ["lr", "learning rate"],
    ["seed", "seed"],
  ];

  const html = (tag, given = {}, ...inside) => {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  };
  const svg = (tag, given = {}, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  };
  const percent = (value) => value.toFixed(1) + " %";
  const mark = (shape, x, y, scale, given) =>
    svg("path", { d: SHAPES[shape], transform: `translate(${x} ${y}) scale(${scale})`, ...given });

  // The numbers: as points.best_point, over_seeds and points_under have them.
  function best(models, threshold) {
    const under = models.filter((m) => m.asr <= threshold);
    under.sort((a, b) => b.accuracy - a.accuracy || a.asr - b.asr);
    return under[0];
  }
  function answer(models, threshold, t) {
    const seeds = [...new Set(models.map((m) => m.seed))];
    const found = seeds.map((s) => best(models.filter((m) => m.seed === s), threshold));
    const ringed = found.filter(Boolean);
    const n = ringed.length;
    const mean = ringed.reduce((sum, m) => sum + m.accuracy, 0) / n;
    const squares = ringed.reduce((sum, m) => sum + (m.accuracy - mean) ** 2, 0);
    const half = n > 1 ? (t[n] * Math.sqrt(squares / (n - 1))) / Math.sqrt(n) : NaN;
    const under = models.filter((m) => m.asr <= threshold).length;
    return { ringed, n, mean, half, under, seeds: seeds.length };
  }

  function start(root) {
    const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
    const columns = Object.keys(data.points);
    const all = data.points.run.map((_, i) =>
      Object.fromEntries(columns.map((c) => [c, data.points[c][i]])),
    );
    const last = Math.max(1, ...all.map((m) => m.epoch));
    const x = (asr) =>
      BOX.left + ((asr + 3) / 106) * (BOX.width - BOX.left - BOX.right);
    const y = (accuracy) => {
      const share = (accuracy - data.range[0]) / (data.range[1] - data.range[0]);
      return BOX.height - BOX.bottom - share * (BOX.height - BOX.top - BOX.bottom);
    };

    function swatch(shape, colour, given = {}) {
      const made = svg("svg", { class: "swatch", viewBox: "-7 -7 14 14", "aria-hidden": "true" });
      made.append(mark(shape, 0, 0, shape === "star" ? 0.75 : 1, { fill: colour, ...given }));
      return made;
    }

    const form = html("form", { "aria-label": "What the figure below shows" });
    const slider = html("input", { type: "range", min: 0, max: 100, step: 0.5, value: data.threshold });
    const readout = html("span", { class: "threshold" });
    form.append(html("fieldset", {}, html("legend", {}, "a model counts as cleaned at"),
      html("label", {}, "ASR ≤ ", slider, readout)));
    const boxes = {};
    for (const [key, words] of CHOICES) {
      const group = html("fieldset", { "data-of": key }, html("legend", {}, words === "pre-trained with" && data[key].some((one) => one.value === "elsewhere") ? "models" : words));
      boxes[key] = data[key].map((one) => {
        const box = html("input", { type: "checkbox", checked: "", value: one.value });
        const look = swatch(one.mark, one.colour);
        group.append(html("label", {}, box, look, one.words));
        return { ...one, box, look };
      });
      form.append(group);
    }
    const hue = html("select", {}, html("option", { value: "loss" }, "cleaning loss"),
      html("option", { value: "lr" }, "learning rate"));
    hue.value = data.colour;
    const ways = html("input", { type: "checkbox" });
    ways.checked = data.ways;
    form.append(html("fieldset", {}, html("legend", {}, "drawing"),
      html("label", {}, "colour and shape: ", hue), html("label", {}, ways, "join the epochs of a run")));
    form.addEventListener("submit", (event) => event.preventDefault());
    const panels = html("div", { class: "panels" });
    // Made once: a region that is to be read out when it changes has to stay.
    for (const one of boxes.pretrain_objective) {
      one.output = html("output", { "aria-live": "polite" });
      one.caption = html("figcaption", {}, html("b", {}, one.panel), one.output);
      one.figure = html("figure", { "data-objective": one.value }, one.caption);
      panels.append(one.figure);
    }
    const key = html("p", {}, swatch("star", data.red), " the poisoned model, before cleaning; ",
      swatch("o", "none", { stroke: data.red, "stroke-width": 2 }),
      " the most accurate model of a seed in the shaded part");
    root.append(form, panels, key);

    const about = (m) => {
      const words = (key) => data[key].find((one) => one.value === m[key]).words;
      return `${words("loss")}, learning rate ${words("lr")}, seed ${m.seed}, epoch ${m.epoch}`;
    };
    const describe = (m) => `${about(m)}: accuracy ${percent(m.accuracy)}, ASR ${percent(m.asr)}`;

    function axes(drawing) {
      const line = (given) => drawing.append(svg("line", { stroke: "var(--grid)", ...given }));
      const step = data.range[1] - data.range[0] > 45 ? 20 : 10;
      for (let asr = 0; asr <= 100; asr += 20) {
        line({ x1: x(asr), x2: x(asr), y1: BOX.top, y2: BOX.height - BOX.bottom });
        drawing.append(svg("text", { x: x(asr), y: BOX.height - 28, "text-anchor": "middle" }, asr));
      }
      for (let value = Math.ceil(data.range[0] / step) * step; value <= data.range[1]; value += step) {
        line({ x1: BOX.left, x2: BOX.width - BOX.right, y1: y(value), y2: y(value) });
        const place = { x: BOX.left - 6, y: y(value) + 4, "text-anchor": "end" };
        drawing.append(svg("text", place, String(value)));
      }
      const middle = (BOX.top + BOX.height - BOX.bottom) / 2;
      const turned = { transform: `translate(13 ${middle}) rotate(-90)`, "text-anchor": "middle" };
      drawing.append(svg("text", { x: x(50), y: BOX.height - 8, "text-anchor": "middle" }, data.axes[0]));
      drawing.append(svg("text", turned, data.axes[1]));
    }

    function draw() {
      const threshold = Number(slider.value);
      readout.textContent = threshold.toFixed(1) + " %";
      const on = {};
      for (const [key] of CHOICES) {
        on[key] = new Set(boxes[key].filter((one) => one.box.checked).map((one) => one.value));
        for (const one of boxes[key]) one.look.style.display = key === hue.value ? "" : "none";
      }
      for (const objective of boxes.pretrain_objective) {
        objective.figure.hidden = !objective.box.checked;
        const mine = all.filter((m) => m.pretrain_objective === objective.value);
        const chosen = mine.filter((m) => on.loss.has(m.loss) && on.lr.has(m.lr) && on.seed.has(m.seed));
        panel(objective, chosen, threshold);
      }
    }

    function panel(objective, chosen, threshold) {
      const models = chosen.filter((m) => m.epoch > 0);
      const found = answer(models, threshold, data.t);
      const drawing = svg("svg", { viewBox: `0 0 ${BOX.width} ${BOX.height}`, role: "img" });
      const line = x(threshold);
      drawing.append(svg("rect", { x: BOX.left, y: BOX.top, width: line - BOX.left,
        height: BOX.height - BOX.top - BOX.bottom, fill: "var(--shade)" }));
      axes(drawing);
      drawing.append(svg("line", { x1: line, x2: line, y1: BOX.top, y2: BOX.height - BOX.bottom,
        stroke: "var(--ink)", "stroke-dasharray": "5 4" }));
      if (ways.checked) {
        for (const run of new Set(chosen.map((m) => m.run))) {
          const own = chosen.filter((m) => m.run === run);
          const look = data[hue.value].find((one) => one.value === own[0][hue.value]);
          const path = own.map((m) => `${x(m.asr)},${y(m.accuracy)}`).join(" ");
          drawing.append(svg("polyline", { points: path, fill: "none", stroke: look.colour, "stroke-opacity": 0.6 }));
        }
      }
      for (const m of models) {
        const look = data[hue.value].find((one) => one.value === m[hue.value]);
        const scale = ways.checked ? 0.4 + (0.8 * m.epoch) / last : 0.8;
        const point = mark(look.mark, x(m.asr), y(m.accuracy), scale,
          { class: "point", fill: look.colour, "fill-opacity": 0.8 });
        point.append(svg("title", {}, describe(m)));
        drawing.append(point);
      }
      for (const m of chosen.filter((one) => one.epoch === 0)) {
        const place = { cx: x(m.asr), cy: y(m.accuracy) };
        drawing.append(svg("circle", { ...place, r: 10, fill: "none", stroke: "var(--ink)" }));
        const star = mark("star", place.cx, place.cy, 0.85, { class: "star", fill: data.red });
        star.append(svg("title", {}, `poisoned model, before cleaning: accuracy ${percent(m.accuracy)}, ASR ${percent(m.asr)}`));
        drawing.append(star);
      }
      for (const m of found.ringed) {
        drawing.append(svg("circle", { class: "ring", cx: x(m.asr), cy: y(m.accuracy), r: 9,
          fill: "none", stroke: data.red, "stroke-width": 2.5 }));
      }
      const words = sentence(found, models, threshold);
      drawing.setAttribute("aria-label", `Accuracy against attack success rate of models ` +
        `${objective.panel}. ${words}`);
      objective.output.setAttribute("data-best", found.n ? found.mean : "");
      objective.output.textContent = words;
      objective.figure.replaceChildren(objective.caption, drawing);
    }

    function sentence(found, models, threshold) {
      const runs = new Set(models.map((m) => m.run)).size;
      const n = `n = ${models.length} models, ${runs} runs, ${found.seeds} seeds`.replace(/\b1 (model|run|seed)s/g, "1 $1");
      if (!models.length) return "Nothing is chosen.";
      const limit = `ASR ≤ ${threshold} %`;
      if (!found.n) return `No model at ${limit}; ${n}.`;
      const which = found.n > 1 ? "mean of each seed's best" : about(found.ringed[0]);
      const spread = Number.isNaN(found.half) ? "" :
        ` (95 % interval ${percent(found.mean - found.half)} to ${percent(found.mean + found.half)})`;
      const none = found.seeds > found.n ? `; ${found.seeds - found.n} of ${found.seeds} seeds have none` : "";
      return `Best accuracy at ${limit}: ${percent(found.mean)}${spread}, ${which}${none}. ` +
        `${found.under} of ${models.length} at ${limit}; ${n}.`;
    }

    form.addEventListener("input", draw);
    draw();
  }

  // The same figure may stand twice in a page.
  for (const root of document.querySelectorAll(`[id="${name}"]:not([data-ready])`)) {
    root.setAttribute("data-ready", "");
    start(root);
  }
}
