// A scatter of points with axes, the front as a line, and colours by the value of a column.
import { number } from "/static/page.js";

const SPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 440, NARROWEST = 340, LEFT = 78, BOTTOM = 50, TOP = 14, RIGHT = 16;

function draw(tag, attributes, text) {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function linearTicks(low, high) {
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough);
  const ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high * (1 + 1e-12); i += 1) ticks.push(i * step);
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const k of [1, 2, 5]) ticks.push(k * 10 ** power);
  }
  const inside = ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  if (inside.length < 2) return linearTicks(low, high);
  return inside.filter((_, i) => i % Math.ceil(inside.length / 8) === 0);
}

// From values to places between two ends, with ticks; words get equal steps.
function scale(values, from, to, log) {
  const words = values.some((value) => typeof value !== "number");
  if (words) {
    const names = [...new Set(values.map(String))].slice(0, 30);
    const at = (value) => from + ((names.indexOf(String(value)) + 0.5) / names.length) * (to - from);
    return { at, ticks: names };
  }
  let low = Infinity, high = -Infinity;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  const useLog = log && low > 0;
  if (low === high) { low = useLog ? low / 2 : low - (Math.abs(low) || 1); high = useLog ? high * 2 : high + (Math.abs(high) || 1); }
  const f = useLog ? Math.log : (value) => value;
  const margin = 0.03 * (f(high) - f(low));
  const a = f(low) - margin, b = f(high) + margin;
  const ticks = useLog ? logTicks(low, high) : linearTicks(low, high);
  return { at: (value) => from + ((f(value) - a) / (b - a)) * (to - from), ticks };
}

function mark(shape, x, y, size) {
  const s = size;
  if (shape === 0) return draw("circle", { cx: x, cy: y, r: s });
  const outlines = [
    `M${x - s} ${y - s}h${2 * s}v${2 * s}h${-2 * s}z`,
    `M${x} ${y - 1.3 * s}L${x + 1.2 * s} ${y + s}H${x - 1.2 * s}z`,
    `M${x} ${y - 1.4 * s}L${x + 1.4 * s} ${y}L${x} ${y + 1.4 * s}L${x - 1.4 * s} ${y}z`,
    `M${x} ${y + 1.3 * s}L${x + 1.2 * s} ${y - s}H${x - 1.2 * s}z`,
  ];
  return draw("path", { d: outlines[(shape - 1) % outlines.length] });
}

// Which colour and shape each value of a column has; many numbers share bands between them.
export function colouring(points, valueOf, palette) {
  const values = points.map(valueOf).filter((value) => value !== undefined && value !== null);
  let kinds = [...new Set(values)];
  const numeric = kinds.every((value) => typeof value === "number");
  if (numeric) kinds.sort((a, b) => a - b);
  else kinds = kinds.map(String).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  if (numeric && kinds.length > 6) {
    const edges = [1, 2, 3, 4].map((i) => kinds[Math.floor((i * kinds.length) / 5)]);
    const names = [`below ${number(edges[0])}`, ...edges.map((edge) => `from ${number(edge)}`)];
    return { names, of: (point) => edges.filter((edge) => valueOf(point) >= edge).length };
  }
  const last = palette.length - 1;
  const names = kinds.length > palette.length ? [...kinds.slice(0, last), "others"] : kinds;
  return {
    names: names.map(number),
    of: (point) => {
      const value = valueOf(point), place = kinds.indexOf(numeric ? value : String(value));
      return Math.min(place < 0 ? last : place, last);
    },
  };
}

export function legendMark(palette, place) {
  const svg = draw("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" });
  const shape = mark(place % 5, 6, 6, 4);
  shape.setAttribute("fill", palette[place % palette.length]);
  svg.append(shape);
  return svg;
}

// `width` is that of the page in px; `joined` draws the front as a line.
export function scatter({ points, front, chosen, x, y, xName, yName, xLog, yLog, colours, palette, label, joined, width }) {
  const wide = Math.max(NARROWEST, width);
  const svg = draw("svg", { viewBox: `0 0 ${wide} ${HEIGHT}`, role: "group", "aria-label": `${yName} over ${xName}, ${points.length} designs` });
  const seen = points.filter((point) => x(point) !== undefined && y(point) !== undefined && x(point) !== null && y(point) !== null);
  if (!seen.length) {
    svg.append(draw("text", { x: wide / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "No design to draw"));
    return svg;
  }
  const across = scale(seen.map(x), LEFT, wide - RIGHT, xLog);
  const up = scale(seen.map(y), HEIGHT - BOTTOM, TOP, yLog);
  svg.append(draw("path", { class: "axis", d: `M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${wide - RIGHT}` }));
  const everyNth = Math.ceil((across.ticks.length * 70) / (wide - LEFT));
  for (const tick of across.ticks.filter((_, i) => i % everyNth === 0)) {
    const at = across.at(tick);
    svg.append(draw("path", { class: "axis", d: `M${at} ${HEIGHT - BOTTOM}v5` }));
    svg.append(draw("text", { x: at, y: HEIGHT - BOTTOM + 20, "text-anchor": "middle" }, number(tick).slice(0, 14)));
  }
  for (const tick of up.ticks) {
    const at = up.at(tick);
    svg.append(draw("path", { class: "axis", d: `M${LEFT - 5} ${at}H${wide - RIGHT}`, "stroke-opacity": 0.5 }));
    svg.append(draw("text", { x: LEFT - 9, y: at + 4, "text-anchor": "end" }, number(tick).slice(0, 9)));
  }
  svg.append(draw("text", { x: (LEFT + wide) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, xName));
  svg.append(draw("text", { x: 16, y: HEIGHT / 2, "text-anchor": "middle", transform: `rotate(-90 16 ${HEIGHT / 2})` }, yName));
  const place = (point) => [across.at(x(point)).toFixed(1), up.at(y(point)).toFixed(1)].map(Number);
  const line = seen.filter((point) => front.has(point.key)).map(place).sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  if (joined && line.length > 1) svg.append(draw("path", { class: "front", d: "M" + line.map((at) => at.join(" ")).join("L") }));
  const first = (point) => (chosen.has(point.key) ? 2 : front.has(point.key) ? 1 : 0);
  for (const point of [...seen].sort((a, b) => first(a) - first(b))) {
    const [at, height] = place(point), kind = colours.of(point);
    const shape = mark(kind % 5, at, height, first(point) ? 6.5 : 4.5);
    shape.setAttribute("fill", palette[kind % palette.length]);
    shape.setAttribute("class", chosen.has(point.key) ? "mark chosen" : "mark");
    shape.dataset.key = point.key;
    if (first(point)) {
      shape.setAttribute("tabindex", "0");
      shape.setAttribute("role", "button");
      shape.setAttribute("aria-label", label(point));
      shape.setAttribute("aria-pressed", String(chosen.has(point.key)));
    }
    svg.append(shape);
  }
  return svg;
}
