"use strict";
// The recording: groups (calls of modules), rows (values and the ops that made them), steps, and values (pictures of arrays).
const D = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);

function h(tag, attributes, ...children) { // an element; a function as attribute is a listener
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== ""));
  return element;
}

const decode = (text, Type) => new Type(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
const say = x => x === null || x === undefined ? "none" : x === 0 ? "0" : String(Number(x.toPrecision(4)));
const sizes = shape => shape.length ? `(${shape.join(", ")}${shape.length === 1 ? "," : ""})` : "one number";
const brief = text => { const x = Number(text); return Number.isFinite(x) ? String(Number(x.toPrecision(Math.abs(x) < 0.1 ? 2 : 3))) : text; };
const times = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

// ---- the tape: rows in the order of their birth, folded by module

const opsIn = D.groups.map(() => 0);
const groupsOf = row => { // the calls a row was made in, from the outermost
  const chain = [];
  for (let g = D.rows[row].group; g >= 0; g = D.groups[g].outer) chain.unshift(g);
  return chain;
};
const used = new Set(D.steps.map(step => step.row));
D.rows.forEach((row, i) => { if (row.op && (used.has(i) || row.wants_grad)) groupsOf(i).forEach(g => opsIn[g]++); });
const chainOf = row => groupsOf(row).filter(g => opsIn[g] > 1); // a module of one op is shown as that op
const label = row => {
  const r = D.rows[row];
  if (!r.op || r.name !== r.op) return r.name; // as the variable is called
  const own = groupsOf(row).filter(g => opsIn[g] === 1).map(g => D.groups[g].name);
  return own.length ? own.join(".") : r.op;
};
const isAnonymous = row => /^(data|a leaf)$/.test(D.rows[row].name);
const isParameter = row => !D.rows[row].op && (D.rows[row].name.includes(".") || isAnonymous(row));

function inOrder() { // ops by birth; each named input before what first uses it, outside of that one's module
  const ops = D.rows.map((_, i) => i).filter(i => D.rows[i].op && (used.has(i) || D.rows[i].wants_grad))
    .sort((a, b) => D.rows[a].birth - D.rows[b].birth);
  const placed = new Set(), found = [];
  let outermost = -1;
  ops.forEach((row, at) => {
    const first = chainOf(row)[0] ?? -1;
    if (first === -1 || first !== outermost) {
      const together = first === -1 ? [row] : ops.slice(at).filter(other => chainOf(other)[0] === first);
      for (const other of together) {
        for (const [, from] of D.rows[other].inputs) {
          if (!D.rows[from].op && !isParameter(from) && !placed.has(from)) { placed.add(from); found.push(from); }
        }
      }
    }
    outermost = first;
    found.push(row);
  });
  return found;
}
const order = inOrder();

const state = { open: new Set(), at: 0, cursor: 0, timer: null, pixel: [0, 0], filter: 0 };
let entries = [], entryOf = new Map(), stops = [];

function openUntil(most) { // unfold level after level, as long as the tape stays short
  const depth = g => D.groups[g].outer < 0 ? 0 : 1 + depth(D.groups[g].outer);
  for (let level = 0; level < 12; level++) {
    const before = new Set(state.open);
    D.groups.forEach((_, g) => { if (depth(g) === level) state.open.add(g); });
    if (fold().filter(e => e.header === undefined).length > most) { state.open = before; return; }
  }
}

function fold() { // what is visible: rows, folded groups, and the headers of open ones
  const found = [];
  let open = [];
  for (const row of order) {
    const chain = D.rows[row].op ? chainOf(row) : [];
    const closed = chain.findIndex(g => !state.open.has(g));
    const shown = closed < 0 ? chain : chain.slice(0, closed);
    shown.forEach((g, depth) => { if (open[depth] !== g || open.length <= depth) { found.push({ header: g, depth, rows: [] }); open = open.slice(0, depth).concat(g); } });
    open = shown;
    const last = found[found.length - 1];
    if (closed < 0) found.push({ rows: [row], depth: chain.length });
    else if (last && last.group === chain[closed]) last.rows.push(row);
    else found.push({ group: chain[closed], rows: [row], depth: closed });
  }
  return found;
}

function refold() { // after a change of what is open: the same step stays in view
  const step = stops.length ? stops[state.at].steps[0] : 0;
  entries = fold();
  entryOf = new Map(entries.flatMap((entry, i) => entry.rows.map(row => [row, i])));
  stops = [];
  D.steps.forEach((s, i) => {
    const entry = entryOf.get(s.row), last = stops[stops.length - 1];
    const together = last && last.phase === s.phase && (s.phase === "update" || (last.entry === entry && entries[entry]?.group !== undefined)) && (s.phase !== "update" || D.steps[last.steps[0]].by === s.by);
    if (together) last.steps.push(i);
    else stops.push({ phase: s.phase, entry, steps: [i] });
  });
  state.at = Math.max(0, stops.findIndex(stop => stop.steps.includes(step)));
  $("slider").max = Math.max(0, stops.length - 1);
  $("phases").replaceChildren(...["forward", "backward", "update"].map(phase =>
    h("i", { class: phase, style: `flex:${stops.filter(stop => stop.phase === phase).length}` })));
}

const toggle = group => { state.open.has(group) ? state.open.delete(group) : state.open.add(group); refold(); buildTape(); render(); };

function progress() { // what is known at this step: values computed, gradients there, parameters updated
  const seen = new Set(), lit = new Set(), done = new Set();
  const last = Math.max(...(stops[state.at]?.steps ?? [-1]));
  const first = new Set(D.steps.filter(s => s.phase === "forward").map(s => s.row));
  order.forEach(row => { if (!first.has(row)) seen.add(row); });
  D.steps.slice(0, last + 1).forEach(s => {
    if (s.phase === "forward") seen.add(s.row);
    if (s.phase === "backward") { lit.add(s.row); s.products.forEach(p => { if (!D.rows[p.row].op) lit.add(p.row); }); }
    if (s.phase === "update") done.add(s.row);
  });
  return { seen, lit, done };
}

// The tape is built when something is folded or unfolded; a step only changes the classes of what is there.
let lines = [], chips = [], edges = [], dots = [];

function buildTape() {
  chips = [];
  lines = entries.map((entry, i) => {
    const group = entry.header ?? entry.group, last = entry.rows[entry.rows.length - 1], indent = `padding-left:${0.4 + entry.depth * 1.1}rem`;
    if (entry.header !== undefined) {
      return h("div", { class: "row open seen", style: indent, "data-group": group, click: () => toggle(group) },
        h("button", { class: "fold", "aria-label": "fold" }, "▾"), h("b", {}, D.groups[group].name), h("span", { class: "kind" }, D.groups[group].type));
    }
    const r = D.rows[last], parameters = group === undefined ? r.inputs.filter(([, from]) => isParameter(from) && D.rows[from].wants_grad) : [];
    const labels = parameters.map(([name, from]) => h("span", { class: "chip", title: `${D.rows[from].name} ${sizes(D.rows[from].shape)}` }, name));
    chips.push(...labels.map((element, n) => [element, parameters[n][1]]));
    const kind = group !== undefined ? `${D.groups[group].type}, ${entry.rows.length} ops` : r.op ? (r.op === label(last) ? "" : r.op) : r.wants_grad ? "wants a gradient" : "";
    return h("div", { class: "row", style: indent, "data-row": last, "data-group": group, click: () => jump(i) },
      group === undefined ? null : h("button", { class: "fold", "aria-label": "unfold", click: event => { event.stopPropagation(); toggle(group); } }, "▸"),
      h("b", {}, group === undefined ? label(last) : D.groups[group].name), h("span", { class: "kind" }, kind), labels, h("span", { class: "shape" }, sizes(r.shape)));
  });
  $("tape").replaceChildren(...lines);
  drawEdges();
}

function drawEdges() {
  const svg = (tag, attributes) => { const e = document.createElementNS("http://www.w3.org/2000/svg", tag); Object.entries(attributes).forEach(([k, v]) => e.setAttribute(k, v)); return e; };
  const x = parseFloat(getComputedStyle(document.documentElement).fontSize) * 2.7, y = lines.map(line => line.offsetTop + line.offsetHeight / 2);
  const pairs = new Map();
  entries.forEach((entry, to) => entry.rows.forEach(row => D.rows[row].inputs.forEach(([, from]) => {
    const at = entryOf.get(from);
    if (at !== undefined && at !== to) pairs.set(`${at} ${to}`, [at, to]);
  })));
  const shown = entries.map((_, i) => i).filter(i => entries[i].header === undefined), place = new Map(shown.map((i, n) => [i, n]));
  const lanes = []; // on the left, each with what it holds
  edges = [...pairs.values()].sort((a, b) => (a[1] - a[0]) - (b[1] - b[0])).map(([from, to]) => {
    if (place.get(to) - place.get(from) === 1) return [svg("path", { d: `M${x},${y[from]}L${x},${y[to]}` }), to];
    let lane = 0;
    while (lanes[lane]?.some(([a, b]) => a < to && from < b)) lane++;
    (lanes[lane] ||= []).push([from, to]);
    const left = Math.max(4, x - 11 - 8 * lane), bend = Math.min(14, (y[to] - y[from]) / 2);
    return [svg("path", { d: `M${x},${y[from]}C${left},${y[from]} ${left},${y[from]} ${left},${y[from] + bend}L${left},${y[to] - bend}C${left},${y[to]} ${left},${y[to]} ${x},${y[to]}` }), to];
  });
  dots = shown.map(i => [svg("circle", { cx: x, cy: y[i], r: 5 }), entries[i].rows[entries[i].rows.length - 1]]);
  const layer = svg("svg", { width: 1, height: 1 });
  layer.append(...edges.map(([element]) => element), ...dots.map(([element]) => element));
  $("tape").append(layer);
}

function markTape() {
  const { seen, lit, done } = progress(), stop = stops[state.at], now = stop && stop.phase !== "update" ? stop.entry : -1;
  const mark = row => done.has(row) ? "done" : lit.has(row) ? "lit" : seen.has(row) ? "seen" : "";
  const set = (element, name) => { if (element.getAttribute("class") !== name) element.setAttribute("class", name); };
  lines.forEach((line, i) => {
    const entry = entries[i];
    if (entry.header === undefined) set(line, `row ${D.rows[entry.rows[0]].op ? "" : "leaf"} ${entry.rows.some(row => seen.has(row)) ? "seen" : ""} ${i === now ? `now ${stop.phase}` : ""}`);
  });
  chips.forEach(([element, row]) => set(element, `chip ${mark(row)}`));
  dots.forEach(([element, row]) => set(element, `dot ${mark(row)}`));
  edges.forEach(([element, to]) => set(element, `edge ${to === now ? `on ${stop.phase}` : ""}`));
  lines[stop?.entry]?.scrollIntoView({ block: "nearest" });
}

// ---- arrays as pictures

function rgb(level, zero) { // blue below 0, the paper at 0, orange above
  if (level === -128) return [255, 0, 200];
  const end = level < 0 ? [36, 89, 196] : [226, 96, 10], t = Math.sqrt(Math.abs(level) / 127);
  return end.map((e, i) => Math.round(zero[i] + (e - zero[i]) * t));
}
const colour = (level, zero) => `rgb(${rgb(level, zero).join()})`;

function pixels(image, zero) { // all tiles beside each other, a pixel for each element
  const [R, C, H, W] = image.tiles, element = h("canvas", { width: Math.max(1, C * W), height: Math.max(1, R * H) });
  const palette = Array.from({ length: 256 }, (_, n) => rgb(n - 128, zero)), pen = element.getContext("2d");
  const data = pen.createImageData(element.width, element.height);
  for (let i = 0; i < R * C * H * W; i++) {
    const x = i % W, y = Math.floor(i / W) % H, tile = Math.floor(i / (W * H)), at = 4 * ((Math.floor(tile / C) * H + y) * C * W + (tile % C) * W + x);
    data.data.set(palette[image.levels[i] + 128], at);
    data.data[at + 3] = 255;
  }
  pen.putImageData(data, 0, 0);
  return element;
}

const zeroColour = () => {
  const text = getComputedStyle(document.documentElement).getPropertyValue("--zero").trim();
  return [1, 3, 5].map(i => parseInt(text.slice(i, i + 2), 16));
};

// image: {tiles: [rows, columns, height, width], levels, numbers?, top, index?(r, c, y, x)}; options: room in pixels, frames to draw, onpick
function canvas(image, { room = 300, frames = [], onpick = null } = {}) {
  const [R, C, H, W] = image.tiles, gap = R * C > 1 ? 3 : 0, zero = zeroColour();
  const written = image.numbers && C * W <= Math.min(10, room / 28) && R * H <= 12;
  const side = Math.max(1, Math.min(26, Math.floor((room - gap * C) / (C * W)), Math.floor((room - gap * R) / (R * H))));
  const [cw, ch] = written ? [52, 26] : gap ? [side, side] : [side, Math.max(side, Math.min(18, Math.floor(90 / H)))]; // a flat one is made higher
  const width = C * (W * cw + gap) - gap, height = R * (H * ch + gap) - gap, ratio = window.devicePixelRatio || 1;
  const element = h("canvas", { width: Math.max(1, width * ratio), height: Math.max(1, height * ratio), style: `width:${width}px;height:${height}px`, class: onpick ? "pick" : "", tabindex: onpick ? 0 : undefined });
  const pen = element.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = "12px system-ui, sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle";
  const corner = (r, c, y, x) => [c * (W * cw + gap) + x * cw, r * (H * ch + gap) + y * ch];
  const source = pixels(image, zero);
  pen.imageSmoothingEnabled = false;
  for (let r = 0; r < R; r++) for (let c = 0; c < C; c++) if (W * H) pen.drawImage(source, c * W, r * H, W, H, ...corner(r, c, 0, 0), W * cw, H * ch);
  if (written) for (let r = 0, i = 0; r < R; r++) for (let c = 0; c < C; c++) for (let y = 0; y < H; y++) for (let x = 0; x < W; x++, i++) {
    const [px, py] = corner(r, c, y, x), level = image.levels[i];
    pen.fillStyle = zero[0] + zero[1] + zero[2] > 380 || Math.abs(level) > 70 ? (Math.abs(level) > 90 ? "#fff" : "#1d2430") : "#eceff4";
    pen.fillText(brief(image.numbers[i]), px + cw / 2, py + ch / 2);
  }
  for (const [r, c, y, x, rows, columns] of frames) {
    const [px, py] = corner(r, c, y, x);
    pen.strokeStyle = "#c0182b"; pen.lineWidth = 2;
    pen.strokeRect(px + 1, py + 1, columns * cw - 2, rows * ch - 2);
  }
  const where = event => {
    const box = element.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
    const c = Math.floor(px / (W * cw + gap)), r = Math.floor(py / (H * ch + gap));
    const x = Math.floor((px - c * (W * cw + gap)) / cw), y = Math.floor((py - r * (H * ch + gap)) / ch);
    return r >= 0 && c >= 0 && r < R && c < C && x >= 0 && y >= 0 && x < W && y < H ? [r, c, y, x] : null;
  };
  element.addEventListener("mousemove", event => {
    const at = where(event);
    if (!at) return tip(null);
    const i = ((at[0] * C + at[1]) * H + at[2]) * W + at[3], level = image.levels[i];
    const value = image.numbers ? image.numbers[i] : level === -128 ? "NaN" : `≈ ${say(level / 127 * image.top)}`;
    tip(event, `${image.index ? `[${image.index(...at).join(", ")}] ` : ""}${value}`);
  });
  element.addEventListener("mouseleave", () => tip(null));
  if (onpick) element.addEventListener("click", event => { const at = where(event); if (at) onpick(...at); });
  return element;
}

function tip(event, text) {
  $("tip")?.remove();
  if (event) document.body.append(h("div", { id: "tip", style: `left:${Math.min(event.clientX + 14, innerWidth - 170)}px;top:${event.clientY + 14}px` }, text));
}

function imageOf(value) {
  const [sy, sx] = value.steps, n = value.shape.length;
  value.decoded ||= decode(value.levels, Int8Array);
  const index = (r, c, y, x) => n === 0 ? [] : n === 1 ? [x * sx] : n === 2 ? [y * sy, x * sx] : n === 3 ? [r * value.tiles[1] + c, y * sy, x * sx] : [r, c, y * sy, x * sx];
  return { tiles: value.tiles, levels: value.decoded, numbers: value.numbers, top: value.top, index };
}

function figure(number, name, kind, options) { // an array: its name, picture and statistics
  const v = D.values[number];
  const stats = [
    v.min === null ? "no finite number" : v.min === v.max ? `all ${say(v.min)}` : `${say(v.min)} … ${say(v.max)}, mean ${say(v.mean)}`,
    v.zeros > 0 && v.min !== v.max ? `, ${(100 * v.zeros).toFixed(v.zeros < 0.1 ? 1 : 0)}% zeros` : "",
  ];
  const one = v.shape.reduce((a, b) => a * b, 1) === 1, part = v.tiles.reduce((a, b) => a * b, 1) < v.shape.reduce((a, b) => a * b, 1);
  return h("figure", { class: kind, "data-value": number },
    h("figcaption", {}, name, " ", h("small", {}, sizes(v.shape), v.dtype === "float32" ? "" : ` ${v.dtype}`)),
    one ? h("div", { class: "scalar" }, v.nan ? "NaN" : v.inf ? "∞" : say(v.min)) : canvas(imageOf(v), options),
    one ? null : h("p", {}, stats, v.nan ? h("b", { class: "bad" }, ` ${v.nan} NaN`) : "", v.inf ? h("b", { class: "bad" }, ` ${v.inf} infinite`) : "", part ? ", a part of it" : ""));
}

// ---- the stage: one step

const formula = (parts, left) => !parts.length ? null : h("div", { class: "formula" }, left ? [left, " = "] : "", parts.map(part =>
  typeof part === "string" ? part : array(part[0], part[1])));
const array = (name, shape) => h("span", { class: name === "g" ? "a g" : "a" }, name === "g" ? "∂L/∂out" : name, h("small", {}, shape));
const visible = row => { const group = entries[entryOf.get(row)]?.group; return group === undefined ? label(row) : D.groups[group].name; };
const derivative = name => h("span", { class: "a g" }, `∂L/∂${name}`);
const source = site => site ? h("span", { class: "source" }, h("i", {}, `${site.file}:${site.line}`), site.text) : null;
const path = row => pathOf(groupsOf(row));
const pathOf = groups => groups.map(g => D.groups[g].name).join(".");
const inputRow = (row, name) => (D.rows[row].inputs.find(([input]) => input === name) ?? [])[1];
const named = (name, row) => row !== undefined && !D.rows[row].op && !isAnonymous(row) ? `${name} = ${D.rows[row].name}` : name;

function heading(title, note, phase) {
  return h("h2", {}, h("span", { class: phase }, title), h("small", {}, note));
}

function forwardCard(step) {
  const row = D.rows[step.row], options = Object.entries(row.options).map(([k, v]) => `${k}: ${v}`).join(", ");
  return [
    heading(label(step.row), [row.op === label(step.row) ? "" : row.op, path(step.row)].filter(Boolean).join(" in "), "forward"),
    source(row.site),
    formula(row.formula.length ? row.formula : [`${row.op}(`, ...row.inputs.flatMap(([name, from], i) => [i ? ", " : "", [name, D.rows[from].shape.join("×") || "one number"]]), ")"], array("out", row.shape.join("×") || "one number")),
    options ? h("p", { class: "words" }, h("small", {}, options)) : null,
    h("div", { class: "flow" },
      step.values.slice(0, 6).map(([name, v], i) => figure(v, named(name, row.inputs[i][1]), "", { room: row.convolution ? 190 : 240 })),
      h("div", { class: "arrow" }, "→"), figure(step.out, "out", "out", { room: row.convolution ? 250 : 280 })),
    row.convolution ? windowOf(step, row.convolution, null) : null,
  ];
}

function backwardCard(step) {
  const row = D.rows[step.row], meets = arrivals(step), first = D.steps.find(s => s.phase === "backward") === step;
  const silent = row.inputs.filter(([name]) => !step.products.some(p => p.input === name)).map(([name]) => name);
  return [
    heading(label(step.row), [row.op === label(step.row) ? "" : row.op, path(step.row)].filter(Boolean).join(" in "), "backward"),
    source(row.site),
    h("p", { class: "words" }, first && D.values[step.out].shape.length === 0 && D.values[step.out].min === 1 ? "Here the way back begins: the gradient of the loss with respect to itself is 1. "
      : meets > 1 ? `What this op made was used ${meets} times: the gradient that comes in is the sum of ${meets}. `
        : "The gradient of what this op made has arrived. ",
    "Each rule multiplies it by the op's own derivative."),
    h("div", { class: "before" }, "forward: ", formula(row.formula, array("out", row.shape.join("×") || "one number")) ?? row.op),
    h("div", { class: "chain" }, h("div", { class: "incoming" }, figure(step.out, derivative("out"), "g", { room: 220 }), h("div", { class: "arrow" }, "↘")),
      h("div", {}, step.products.map(product => productCard(step, product)))),
    silent.length ? h("p", { class: "words" }, `${silent.join(", ")}: wants no gradient, so no rule ran.`) : null,
    row.convolution ? windowOf(step, row.convolution, step.out) : null,
  ];
}

function arrivals(step) {
  let n = 1;
  for (const s of D.steps) { if (s === step) break; if (s.phase === "backward") s.products.forEach(p => { if (p.row === step.row) n = p.arrival; }); }
  return n;
}

function stretched(from, to) { // which dimensions of `from` were summed to get `to`
  const lead = from.length - to.length;
  return from.map((n, i) => i < lead || (to[i - lead] === 1 && n !== 1) ? i : -1).filter(i => i >= 0);
}

function verdict(check) {
  if (!check) return null;
  const kind = check === "right" ? "right" : check.startsWith("wrong") ? "wrong" : "none";
  return h("p", { class: `fate check ${kind}` }, kind === "right" ? "✓ finite differences of this op agree" : kind === "wrong" ? `✗ ${check}` : `– ${check}`);
}

function productCard(step, p) {
  const to = D.rows[p.row], from = D.values[p.value].shape;
  const reads = p.reads.filter(([, v]) => D.values[v].shape.reduce((a, b) => a * b, 1) > 1).slice(0, 3);
  const dims = p.summed >= 0 ? stretched(from, D.values[p.summed].shape) : [];
  return h("div", { class: "product", "data-input": p.input },
    h("div", { class: "rule" }, formula(p.formula, derivative(p.input)) ?? h("div", { class: "formula" }, derivative(p.input)),
      !p.code ? null : p.code.split("\n").length > 3 ? h("details", {}, h("summary", {}, "the rule in code"), h("code", {}, p.code))
        : h("code", { title: "the rule, as it stands in the code" }, p.code)),
    h("div", { class: "flow" },
      reads.map(([name, v]) => figure(v, named(name, inputRow(step.row, name)), "", { room: 150 })), reads.length ? h("div", { class: "arrow" }, "→") : null,
      figure(p.value, [derivative(p.input), to.op || isAnonymous(p.row) ? "" : h("small", {}, ` ${p.input} = ${to.name} `)], "g", { room: 220 }),
      p.summed < 0 ? null : [h("div", { class: "arrow" }, "→", h("small", {}, `un-broadcast: summed over dimension ${dims.join(", ")}, along which ${p.input} had been stretched`)), figure(p.summed, "the sum", "g", { room: 220 })],
      p.total < 0 ? null : [h("div", { class: "arrow" }, "＋", h("small", {}, `added to what had come before`)), figure(p.total, `${p.arrival} of ${p.expected} together`, "g", { room: 220 })]),
    h("p", { class: "fate" }, to.op ? `goes on to ${visible(p.row)}` : `arrives at ${to.name}`,
      p.expected > 1 ? `, where ${times(p.expected, "gradient")} meet: this is number ${p.arrival}` : "",
      to.op ? "" : p.arrival === p.expected ? `, and stays in ${to.name}.grad` : "",
      p.before ? h("b", { class: "backward" }, " (added to the .grad that was there from an earlier backward; zero_grad() would have cleared it)") : ""),
    verdict(p.check));
}

function windowOf(step, c, gradient) { // one pixel of a convolution's output, in numbers
  c.pixels ||= decode(c.x, Float32Array); c.taps ||= decode(c.w, Float32Array); c.biases ||= c.bias && decode(c.bias, Float32Array);
  const [C, H, W] = c.size, [F, per, K, L] = c.filters, [I, J] = c.out, f = Math.min(state.filter, F - 1);
  const i = Math.min(state.pixel[0], I - 1), j = Math.min(state.pixel[1], J - 1);
  const group = Math.floor(f / (c.of / c.groups)), top = i * c.stride[0] - c.before[0], left = j * c.stride[1] - c.before[1];
  const column = [], weights = [], products = [];
  for (let q = 0; q < per; q++) for (let k = 0; k < K; k++) for (let l = 0; l < L; l++) {
    const y = top + k * c.dilation[0], x = left + l * c.dilation[1];
    const pixel = y >= 0 && x >= 0 && y < H && x < W ? c.pixels[((group * per + q) * H + y) * W + x] : 0;
    column.push(pixel); weights.push(c.taps[((f * per + q) * K + k) * L + l]); products.push(pixel * weights[weights.length - 1]);
  }
  const small = (numbers, tiles) => {
    const most = Math.max(...numbers.filter(Number.isFinite).map(Math.abs), 0) || 1;
    return { tiles, top: most, levels: numbers.map(x => Number.isNaN(x) ? -128 : Math.max(-127, Math.min(127, Math.round(x / most * 127)))), numbers: numbers.map(say) };
  };
  const across = Math.min(per, 8), used = Math.floor(per / across) * across * K * L, grid = [Math.floor(per / across), across, K, L];
  const shown = numbers => small(numbers.slice(0, used), grid);
  const channels = Math.min(per, 4), frames = [];
  for (let q = 0; q < channels; q++) {
    const y = Math.max(0, top), x = Math.max(0, left);
    frames.push([0, q, y, x, Math.min(H, top + (K - 1) * c.dilation[0] + 1) - y, Math.min(W, left + (L - 1) * c.dilation[1] + 1) - x]);
  }
  const picture = small([...c.pixels.slice(group * per * H * W, (group * per + channels) * H * W)], [1, channels, H, W]);
  delete picture.numbers;
  const sum = products.reduce((a, b) => a + b, 0), bias = c.bias ? c.biases[f] : 0;
  const box = (name, image, options) => h("figure", {}, h("figcaption", {}, name), canvas(image, options));
  const pick = (r, q, y, x) => { state.pixel = [Math.max(0, Math.min(I - 1, Math.round((y + c.before[0] - (K - 1) / 2) / c.stride[0]))), Math.max(0, Math.min(J - 1, Math.round((x + c.before[1] - (L - 1) / 2) / c.stride[1])))]; render(); };
  const choose = h("select", { "aria-label": "filter", change: event => { state.filter = Number(event.target.value); render(); } },
    Array.from({ length: F }, (_, n) => h("option", n === f ? { value: n, selected: "" } : { value: n }, `filter ${n}`)));
  const v = gradient === null ? null : D.values[gradient];
  const inPicture = v && f < v.tiles[1] && i % v.steps[0] === 0 && j % v.steps[1] === 0;
  const g = inPicture ? imageOf(v).levels[((0 * v.tiles[1] + f) * v.tiles[2] + i / v.steps[0]) * v.tiles[3] + j / v.steps[1]] / 127 * v.top : null;
  return h("div", { class: "window", "data-pixel": `${i},${j}`, "data-value": sum + bias },
    h("h3", {}, "One pixel of the output: ", choose, ` at row ${i}, column ${j}, of the first picture `, h("small", {}, "(click into the picture)")),
    h("div", { class: "flow" },
      box(`input, ${times(channels, "channel")} of ${per}, and the window`, picture, { room: 260, frames, onpick: pick }),
      h("div", { class: "arrow" }, "→"), box(`the column: ${column.length} pixels`, shown(column), { room: 135 }),
      h("div", { class: "arrow" }, "·"), box("the filter", shown(weights), { room: 135 }),
      h("div", { class: "arrow" }, "="), box("products", shown(products), { room: 135 })),
    g === null ? h("p", { class: "words" }, `out[0, ${f}, ${i}, ${j}] = Σ products${c.bias ? " + bias" : ""} = ${say(sum)}${c.bias ? ` + ${say(bias)} = ${say(sum + bias)}` : ""}`)
      : [h("p", { class: "words" }, `∂L/∂out[0, ${f}, ${i}, ${j}] ≈ ${say(g)}: this pixel's share in the gradients`),
        h("div", { class: "flow" }, box("∂L/∂weight: g · the column", shown(column.map(x => x * g)), { room: 135 }),
          box("∂L/∂input, laid where the window is: g · the filter", shown(weights.map(x => x * g)), { room: 135 }))]);
}

function groupCard(stop) {
  const group = entries[stop.entry].group, steps = stop.steps.map(i => D.steps[i]), last = steps[steps.length - 1];
  const inside = new Set(entries[stop.entry].rows), back = stop.phase === "backward";
  const leaving = steps.flatMap(s => s.products).filter((p, i, all) => !inside.has(p.row) && D.rows[p.row].op && all.findLastIndex(q => q.row === p.row) === i);
  const chain = groupsOf(steps[0].row);
  const kept = steps.flatMap(s => s.products).filter(p => !D.rows[p.row].op);
  const entering = steps.flatMap(s => s.values.map(([name, v], i) => [name, v, D.rows[s.row].inputs[i]?.[1]])).filter(([, , from]) => from !== undefined && !inside.has(from) && !isParameter(from));
  const wrong = steps.flatMap(s => s.products).filter(p => p.check.startsWith("wrong"));
  return [
    heading(pathOf(chain.slice(0, chain.indexOf(group) + 1)), `${D.groups[group].type}, ${times(steps.length, "step")} in one`, stop.phase),
    source(D.rows[steps[0].row].site),
    h("p", { class: "words" }, h("button", { click: () => toggle(group) }, "▸ unfold"), " to go through it step by step."),
    h("div", { class: "flow" }, back ? figure(steps[0].out, derivative("out"), "g", { room: 260 }) : entering.slice(0, 3).map(([, v, from]) => figure(v, visible(from), "", { room: 260 })),
      h("div", { class: "arrow" }, "→", h("small", {}, D.groups[group].type)),
      back ? leaving.slice(0, 2).map(p => figure(p.total >= 0 ? p.total : p.summed >= 0 ? p.summed : p.value, derivative(visible(p.row)), "g", { room: 260 })) : figure(last.out, "out", "out", { room: 300 })),
    h("table", { class: "inside" }, steps.map(s => h("tr", {},
      h("td", {}, label(s.row)),
      h("td", {}, back ? s.products.map(p => formula(p.formula, derivative(p.input)) ?? derivative(p.input)) : formula(D.rows[s.row].formula, array("out", D.rows[s.row].shape.join("×")))),
      h("td", {}, back ? s.products.map(p => p.check ? h("div", { class: `check ${p.check === "right" ? "right" : p.check.startsWith("wrong") ? "wrong" : "none"}`, title: p.check }, p.check === "right" ? "✓" : p.check.startsWith("wrong") ? "✗" : "–") : null) : "")))),
    wrong.length ? h("p", { class: "check wrong" }, `✗ ${times(wrong.length, "gradient")} in here disagree with finite differences`) : null,
    kept.length ? h("p", { class: "words" }, `Gradients that stay here: ${[...new Set(kept.map(p => D.rows[p.row].name))].join(", ")}`) : null,
  ];
}

function updateCard(stop) {
  const steps = stop.steps.map(i => D.steps[i]);
  return [
    heading(steps[0].by ? `${steps[0].by}.step` : "by hand", times(steps.length, "parameter"), "update"), source(D.rows[steps[0].row].site),
    h("p", { class: "words" }, steps[0].by ? "The optimiser moves every parameter against its gradient." : "The program itself changes parameters in place."),
    steps.map(s => h("div", { class: "flow update-of" }, h("b", {}, D.rows[s.row].name), s.values.slice(1).map(([name, v]) => figure(v, name, name === "grad" ? "g" : "", { room: 150 })),
      h("div", { class: "arrow" }, "→"), figure(s.out, "after", "out", { room: 150 }))),
  ];
}

// ---- going from step to step

function render() {
  const stop = stops[state.at];
  $("slider").value = state.at;
  $("count").textContent = stops.length ? `${state.at + 1} / ${stops.length}` : "nothing";
  document.querySelectorAll("#legend button").forEach(button => {
    button.classList.toggle("on", stop?.phase === button.dataset.jump);
    button.hidden = !stops.some(s => s.phase === button.dataset.jump);
  });
  markTape();
  const folded = stop && stop.phase !== "update" && entries[stop.entry]?.group !== undefined;
  const card = !stop ? [h("p", { class: "words" }, "Nothing was recorded.")] : stop.phase === "update" ? updateCard(stop) : folded ? groupCard(stop)
    : stop.phase === "forward" ? forwardCard(D.steps[stop.steps[0]]) : backwardCard(D.steps[stop.steps[0]]);
  $("stage").replaceChildren(...card.flat(Infinity).filter(Boolean));
  tip(null);
}

function go(to) {
  const before = state.at;
  state.at = Math.max(0, Math.min(stops.length - 1, to));
  state.cursor = stops[state.at]?.entry ?? 0;
  render();
  if (before !== state.at) $("stage").scrollTop = 0;
}
function jump(entry) { // to the step of a row in this phase, or in another one
  state.cursor = entry;
  const phase = stops[state.at]?.phase, found = stops.findIndex(s => s.entry === entry && s.phase === phase);
  const other = found >= 0 ? found : stops.findIndex(s => s.entry === entry);
  if (other >= 0) go(other);
}
const phase = name => { const at = stops.findIndex(stop => stop.phase === name); if (at >= 0) go(at); };
function unfoldAll() {
  const all = D.groups.map((_, g) => g).filter(g => opsIn[g] > 1), whole = all.every(g => state.open.has(g));
  state.open = whole ? new Set() : new Set(all);
  refold(); buildTape(); render();
}
function play() {
  if (state.timer) { clearInterval(state.timer); state.timer = null; }
  else state.timer = setInterval(() => { if (state.at === stops.length - 1) play(); else go(state.at + 1); }, 1600);
  $("play").textContent = state.timer ? "pause" : "play";
}
function resize(by) { const root = document.documentElement; root.style.fontSize = `${Math.max(11, Math.min(34, parseFloat(getComputedStyle(root).fontSize) + by))}px`; buildTape(); render(); }
function theme() { document.documentElement.classList.toggle("dark"); legend(); render(); }
function legend() {
  const pen = document.querySelector("#scale canvas").getContext("2d"), zero = zeroColour();
  for (let x = 0; x < 120; x++) { pen.fillStyle = colour(Math.round((x - 60) / 60 * 127) || 0, zero); pen.fillRect(x, 0, 1, 10); }
}
function move(by) { // the cursor, over rows and headers
  const next = state.cursor + by;
  if (next >= 0 && next < entries.length) { state.cursor = next; if (entries[next].header === undefined) jump(next); }
}

const keys = {
  ArrowRight: () => go(state.at + 1), ArrowLeft: () => go(state.at - 1), Home: () => go(0), End: () => go(stops.length - 1),
  PageDown: () => go(state.at + 5), PageUp: () => go(state.at - 5), ArrowDown: () => move(1), ArrowUp: () => move(-1),
  Enter: () => { const e = entries[state.cursor], g = e?.group ?? e?.header ?? chainOf(e.rows[0]).pop(); if (g !== undefined) toggle(g); },
  " ": play, u: unfoldAll, d: theme, f: () => phase("forward"), b: () => phase("backward"), o: () => phase("update"), "+": () => resize(2), "-": () => resize(-2),
};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  const action = keys[event.key];
  if (action) { event.preventDefault(); action(); }
});
$("slider").addEventListener("input", event => go(Number(event.target.value)));
$("prev").onclick = () => go(state.at - 1);
$("next").onclick = () => go(state.at + 1);
$("play").onclick = play;
$("unfold").onclick = unfoldAll;
$("larger").onclick = () => resize(2);
$("smaller").onclick = () => resize(-2);
$("theme").onclick = theme;
document.querySelectorAll("#legend button").forEach(button => { button.onclick = () => phase(button.dataset.jump); });
document.querySelectorAll("button").forEach(button => button.addEventListener("mouseup", () => button.blur())); // so that space plays
window.addEventListener("resize", () => { buildTape(); render(); });

openUntil(26);
refold();
legend();
buildTape();
render();
