
  // The points of each study: a figure to hover and click, and the table of all of them.
  const SHAPES = [
    (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
    (r) => `M${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
    (r) => `M0 ${-r}L${r} ${r}H${-r}z`,
    (r) => `M0 ${-r}L${r} 0L0 ${r}L${-r} 0z`,
    (r) => `M0 ${r}L${r} ${-r}H${-r}z`,
  ];
  const COLOURS = 8;
  const plainNumber = (v) => Number.isInteger(v) ? v.toLocaleString("en") : String(Number(v.toPrecision(4)));
  const worded = (v) => v === null || v === undefined ? "–" : typeof v === "number" ? plainNumber(v) : String(v);
  const reader = (column) => Array.isArray(column) ? (i) => column[i]
    : column.at ? (i) => column.of[column.at[i]] : () => column.all;

  const scale = (values, low, high) => {
    let from = Infinity, to = -Infinity;
    for (const v of values) { if (v < from) from = v; if (v > to) to = v; }
    if (from > to) { from = 0; to = 1; }
    const log = from > 0 && to / from > 4;
    if (from === to) { from = from > 0 ? from / 2 : from - 1; to = to > 0 ? to * 1.5 : to + 1; }
    else if (log) { from /= 1.12; to *= 1.12; }
    else { const m = (to - from) * 0.05; from = from === 0 ? 0 : from - m; to += m; }
    const f = log ? Math.log : (v) => v;
    const at = (v) => low + (high - low) * (f(v) - f(from)) / (f(to) - f(from));
    const ticks = [];
    if (log) {
      const steps = to / from > 3000 ? [1] : to / from > 10 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8];
      for (let e = Math.floor(Math.log10(from)); e <= Math.log10(to); e++)
        for (const s of steps) { const v = s * 10 ** e; if (v >= from && v <= to) ticks.push(v); }
    } else {
      const rough = (to - from) / 5, power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 2.5, 5, 10].map((s) => s * power).find((s) => s >= rough);
      for (let k = Math.ceil(from / step); k * step <= to; k++) ticks.push(k * step);
    }
    return { at, ticks };
  };

  for (const source of $("script.points")) {
    const data = JSON.parse(source.textContent), index = source.dataset.i;
    const plot = document.getElementById("plot-" + index), root = document.getElementById("points-" + index);
    const control = (name) => document.getElementById(name + "-" + index);
    const of = Object.fromEntries(["number", "fidelity", "group", "front", "kept"].map((key) => [key, reader(data.columns[key])]));
    const parameters = data.parameters.map((p, k) => ({ ...p, get: reader(data.columns.parameters[k]) }));
    const metrics = data.metrics.map((m, k) => {
      const get = reader(data.columns.metrics[k]);
      const show = (v) => v === null || v === undefined ? "–" : m.percent ? digits(v * 100) + " %"
        : m.unit === "mm²" ? digits(v) + " mm²" : m.unit ? si(v * m.factor, m.unit) : plainNumber(v);
      return { ...m, get, show };
    });
    const command = data.command.map(reader), config = Object.entries(data.config).map(([key, c]) => [key, reader(c)]);
    const total = data.columns.count;
    const all = Array.from({ length: total }, (_, i) => i);

    const xPick = control("x"), yPick = control("y"), colour = control("colour"), group = control("group");
    metrics.forEach((m, k) => { xPick.append(option(m.title, k)); yPick.append(option(m.title, k)); });
    xPick.value = 0;
    yPick.value = Math.min(1, metrics.length - 1);
    colour.append(option("front", "front"));
    const few = parameters.map((p, k) => [k, [...new Set(all.map((i) => worded(p.get(i))))]]).filter(([, v]) => v.length > 1 && v.length <= COLOURS);
    for (const [k] of few) colour.append(option(parameters[k].title, k));
    if (data.colour !== null && few.some(([k]) => k === data.colour)) colour.value = data.colour;
    if (data.groups.length > 1) group.append(option("all workloads", "all"));
    data.groups.forEach((title, k) => group.append(option(title, k)));
    group.value = data.groups.length > 1 ? "all" : "0";
    group.closest("label").hidden = data.groups.length < 2;
    const inside = (i) => group.value === "all" || of.group(i) === Number(group.value);

    const detail = control("detail");
    let chosen = -1;
    const describe = (i) => {
      chosen = i;
      const list = make("dl");
      const add = (name, value) => { list.append(make("dt", name), make("dd", value)); };
      for (const m of metrics.slice(0, Math.max(data.wanted, 1))) add(m.title, m.show(m.get(i)));
      if (data.groups.length > 1) add("workload", data.groups[of.group(i)]);
      for (const p of parameters) if (p.get(i) !== null && p.get(i) !== undefined) add(p.title, worded(p.get(i)));
      const rest = make("details"), more = make("dl");
      for (const [key, get] of config) if (get(i) !== null && get(i) !== undefined) more.append(make("dt", key), make("dd", String(get(i))));
      for (const m of metrics.slice(data.wanted)) more.append(make("dt", m.title), make("dd", m.show(m.get(i))));
      rest.append(make("summary", "The whole configuration and all figures"), more);
      const line = make("pre"), code = make("code", command.map((get) => get(i)).filter(Boolean).join(" "));
      line.append(code);
      line.tabIndex = 0;
      line.setAttribute("role", "region");
      line.setAttribute("aria-label", "Command that simulates point " + of.number(i));
      const state = [of.front(i) ? "on the front" : "not on the front", of.kept(i) ? "" : "breaks the limits", of.fidelity(i) + " fidelity"].filter(Boolean).join(", ");
      const close = make("button", "Close");
      close.type = "button";
      close.addEventListener("click", () => { chosen = -1; detail.hidden = true; draw(); });
      detail.replaceChildren(make("h3", "Point " + of.number(i)), make("p", state, "muted"), list, make("p", "This command simulates it alone:"), line, rest, close);
      detail.hidden = false;
      for (const mark of $(".chosen", plot)) mark.classList.remove("chosen");
      const mark = plot.querySelector(`[data-point="${i}"]`);
      if (mark) { mark.classList.add("chosen"); mark.parentNode.append(mark); }
    };

    const draw = () => {
      const x = metrics[Number(xPick.value)], y = metrics[Number(yPick.value)];
      const wide = Math.max(320, plot.clientWidth || 900), high = wide < 520 ? 360 : 460;
      const left = 66, right = 12, top = 22, bottom = 46;
      const there = all.filter((i) => inside(i) && Number.isFinite(x.get(i)) && Number.isFinite(y.get(i)) && x.get(i) !== null && y.get(i) !== null);
      const across = scale(there.map(x.get), left, wide - right), up = scale(there.map(y.get), high - bottom, top);
      const svg = drawn("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": `${y.title} over ${x.title} of ${there.length} points; the table of all points has the same numbers` });
      const say = (px, py, text, name) => { const t = drawn("text", { x: px, y: py, class: name }); t.textContent = text; svg.append(t); };
      let last = -Infinity;
      for (const v of across.ticks) {
        const px = across.at(v), text = x.show(v);
        svg.append(drawn("path", { d: `M${px} ${top}V${high - bottom}`, class: "ax" }));
        if (px - last > 12 + text.length * 7) { say(px, high - bottom + 17, text, "mu mi"); last = px; }
      }
      for (const v of up.ticks) {
        svg.append(drawn("path", { d: `M${left} ${up.at(v)}H${wide - right}`, class: "ax" }));
        say(left - 6, up.at(v) + 4, y.show(v), "mu en");
      }
      say(left, high - 8, x.title, "mu");
      say(left, 12, y.title, "mu");
      const by = colour.value === "front" ? null : few.find(([k]) => k === Number(colour.value));
      const kind = by ? (i) => by[1].indexOf(worded(parameters[by[0]].get(i))) : (i) => of.front(i) ? 1 : 0;
      const names = by ? by[1] : ["not on the front", "on the front"];
      const key = control("key");
      key.replaceChildren(...names.map((name, k) => {
        const entry = make("span"), icon = drawn("svg", { viewBox: "-8 -8 16 16", width: 16, height: 16, "aria-hidden": "true" });
        icon.append(drawn("path", { d: SHAPES[k % SHAPES.length](6), class: `f${k % COLOURS} o` }));
        entry.append(icon, " " + (by ? parameters[by[0]].title + " " : "") + name);
        return entry;
      }));
      const marks = drawn("g", {}), order = there.slice().sort((a, b) => of.front(a) - of.front(b));
      for (const i of order) {
        const k = kind(i), front = of.front(i);
        const mark = drawn("path", {
          d: SHAPES[k % SHAPES.length](front ? 6 : 3.4), transform: `translate(${across.at(x.get(i)).toFixed(1)} ${up.at(y.get(i)).toFixed(1)})`,
          class: `f${k % COLOURS} ${front ? "front" : "o"}${of.kept(i) ? "" : " broken"}${i === chosen ? " chosen" : ""}`, "data-point": i,
        });
        marks.append(mark);
      }
      svg.append(marks);
      plot.replaceChildren(svg);
    };
    const hover = (event) => {
      const at = event.target.dataset && event.target.dataset.point;
      if (at === undefined || event.target.dataset.tip) return;
      const i = Number(at), x = metrics[Number(xPick.value)], y = metrics[Number(yPick.value)];
      event.target.dataset.tip = `point ${of.number(i)}: ${x.title} ${x.show(x.get(i))}, ${y.title} ${y.show(y.get(i))}; ` + parameters.map((p) => `${p.title} ${worded(p.get(i))}`).join(", ");
    };
    for (const kind of ["pointermove", "pointerdown"]) plot.addEventListener(kind, hover);
    plot.addEventListener("click", (event) => {
      const at = event.target.dataset && event.target.dataset.point;
      if (at !== undefined) describe(Number(at));
    });

    const figure = (m) => ({ title: m.title, name: m.name, get: m.get, show: m.show, up: true });
    const columns = [
      { title: "point", get: of.number, show: String, press: true, up: true },
      ...metrics.slice(0, data.wanted).map(figure),
      ...parameters.map((p) => ({ title: p.title, name: p.name, get: p.get, up: true, show: all.every((i) => typeof p.get(i) === "number") ? worded : undefined })),
      ...metrics.slice(data.wanted).map(figure),
      { title: "front", name: "on_front", get: of.front, show: (v) => v ? "yes" : "" },
      { title: "within limits", name: "within_limits", get: of.kept, show: (v) => v ? "yes" : "no" },
      { title: "fidelity", get: of.fidelity },
    ];
    const only = control("only");
    const table = grid({
      root, columns, noun: "points", file: data.file,
      sortBy: columns.find((c) => c.name === metrics[0].name), descending: false,
      searched: (i) => ["point " + of.number(i), data.groups[of.group(i)], of.fidelity(i), ...parameters.map((p) => p.title + "=" + String(p.get(i)))].join(" "),
      rows: () => all.filter((i) => inside(i) && (!only.checked || of.front(i))),
      press: (i) => { describe(i); detail.scrollIntoView({ block: "nearest" }); },
    });
    for (const pick of [xPick, yPick, colour]) pick.addEventListener("change", draw);
    group.addEventListener("change", () => { draw(); table.refresh(); });
    only.addEventListener("change", table.refresh);
    draw();
    table.refresh();
    let width = innerWidth;
    addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
  }
