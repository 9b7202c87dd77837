
  // The table of operators, and which comparison the page shows.
  {
    const data = JSON.parse(document.getElementById("data").textContent);
    const root = document.getElementById("operators");
    const runPick = document.getElementById("run"), bound = document.getElementById("bound");
    const field = (name) => { const i = data.text.indexOf(name); return i >= 0 ? i : data.text.length + data.numbers.indexOf(name); };
    const raw = (name) => { const at = field(name); return ([run, i]) => run.columns[at][i]; };
    const text = (name) => { const get = raw(name); return (row) => data.strings[get(row)]; };
    const cycles = raw("cycles"), bounds = raw("roofline_cycles");
    const columns = [
      { title: "run", get: ([run]) => run.title + " · " + run.label, all: true },
      { title: "operator", get: text("name") },
      { title: "shape", get: text("shape") },
      { title: "pattern", get: text("pattern") },
      { title: "bound by", get: text("bound_by") },
      { title: "time", name: "time_s", get: (row) => cycles(row) * row[0].seconds_per_cycle, show: (v) => si(v, "s") },
      { title: "share", name: "share_of_run", get: (row) => row[0].cycles ? cycles(row) / row[0].cycles : null, show: percent },
      { title: "use of array", name: "utilisation", get: raw("utilisation"), show: percent },
      { title: "over roofline", name: "cycles_over_roofline", get: (row) => bounds(row) ? cycles(row) / bounds(row) : null, show: (v) => v === null ? "–" : digits(v) + "×" },
      { title: "DRAM", name: "dram_bytes", get: raw("dram_bytes"), show: (v) => si(v, "B") },
      { title: "energy", name: "energy_pj", get: raw("energy_pj"), show: (v) => si(v === null ? null : v * 1e-12, "J") },
      { title: "kind", get: text("kind") },
      { title: "phase", get: text("phase") },
      { title: "mapping", get: text("mapping") },
      { title: "MACs", name: "macs", get: raw("macs"), show: (v) => si(v, "MAC") },
      { title: "issued", name: "executed_macs", get: raw("executed_macs"), show: (v) => si(v, "MAC") },
      { title: "cycles", get: cycles, show: (v) => v.toLocaleString("en") },
      { title: "layer", get: text("layer") },
      { title: "note", get: text("note") },
    ];
    data.runs.forEach((run, i) => runPick.append(option(run.title + " · " + run.label, String(i))));
    runPick.append(option("all runs", "all"));
    const at = field("bound_by");
    for (const name of [...new Set(data.runs.flatMap((r) => r.columns[at]))].map((i) => data.strings[i]).sort())
      bound.append(option(name, name));
    const searched = ["name", "layer", "kind", "phase", "shape", "pattern", "mapping"].map(text);
    const boundOf = text("bound_by");
    const table = grid({
      root, columns, noun: "operators", file: "operators.csv",
      sortBy: columns.find((c) => c.title === "time"), descending: true,
      visible: () => columns.filter((c) => !c.all || runPick.value === "all"),
      searched: (row) => searched.map((get) => get(row)).join(" "),
      rows: () => {
        const runs = runPick.value === "all" ? data.runs : [data.runs[Number(runPick.value)]];
        const rows = [];
        for (const run of runs) for (let i = 0; i < run.columns[0].length; i++)
          if (!bound.value || boundOf([run, i]) === bound.value) rows.push([run, i]);
        return rows;
      },
    });
    for (const control of [runPick, bound]) control.addEventListener("change", table.refresh);

    const buttons = $(".pick button");
    const choose = (scenario) => {
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.s === scenario));
      for (const block of $(".scenario")) block.hidden = scenario !== "all" && block.dataset.s !== scenario;
      const run = data.runs.findIndex((r) => String(r.scenario) === scenario && r.fastest);
      if (run >= 0) { runPick.value = String(run); table.refresh(); }
    };
    for (const button of buttons) button.addEventListener("click", () => choose(button.dataset.s));
    runPick.value = String(Math.max(data.runs.findIndex((r) => r.fastest), 0));
    if (buttons.length) choose(buttons[0].dataset.s); else table.refresh();
  }
