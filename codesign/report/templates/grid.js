
  // A table whose rows are sorted, filtered and saved as CSV. `columns` have a title, get(row) and,
  // where it is a number, show(value); `rows()` gives the rows that other controls leave.
  const FIRST = 50, MORE = 400;
  const cell = (value) => {
    let out = value === null || value === undefined ? "" : String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(out)) out = "'" + out;
    return /[",\n\r]/.test(out) ? '"' + out.replaceAll('"', '""') + '"' : out;
  };
  const save = (text, name) => {
    const link = Object.assign(make("a"), { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const grid = ({ root, columns, rows, searched, sortBy, descending, noun, file, visible = () => columns, press = null }) => {
    const part = (name) => root.querySelector("." + name);
    const head = part("grid-head"), body = part("grid-body"), more = part("grid-more");
    const filter = part("grid-filter"), count = part("grid-count");
    let shown = FIRST, kept = [];
    const select = () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      kept = rows();
      if (words.length) kept = kept.filter((row) => {
        const all = searched(row).toLowerCase();
        return words.every((word) => all.includes(word));
      });
      const get = sortBy.get;
      const keyed = kept.map((row, place) => [get(row), place, row]);
      const rank = (v) => v === null || v === undefined ? 0 : typeof v === "number" ? 1 : 2;
      keyed.sort(([a, p], [b, q]) => {
        const order = a === b ? 0 : rank(a) - rank(b) || (a < b ? -1 : 1);
        return (descending ? -order : order) || p - q;
      });
      kept = keyed.map((entry) => entry[2]);
    };
    const render = () => {
      head.replaceChildren(...visible().map((column) => {
        const th = make("th", undefined, column.show ? "num" : "");
        const button = make("button", column.title);
        th.scope = "col";
        if (sortBy === column) th.setAttribute("aria-sort", descending ? "descending" : "ascending");
        button.type = "button";
        button.addEventListener("click", () => {
          descending = column === sortBy ? !descending : Boolean(column.show) && !column.up;
          sortBy = column;
          refresh();
          $("th button", head)[visible().indexOf(column)].focus();
        });
        th.append(button);
        return th;
      }));
      body.replaceChildren(...kept.slice(0, shown).map((row) => {
        const line = make("tr");
        for (const column of visible()) {
          const value = column.get(row);
          if (column.press) {
            const td = make("td", undefined, "num"), button = make("button", column.show(value), "link");
            button.type = "button";
            button.addEventListener("click", () => press(row, button));
            td.append(button);
            line.append(td);
          } else if (column.show) {
            line.append(make("td", column.show(value), "num"));
          } else {
            const td = make("td", undefined, "clip");
            td.append(make("div", value === null || value === undefined ? "–" : String(value)));
            line.append(td);
          }
        }
        return line;
      }));
      count.textContent = Math.min(shown, kept.length).toLocaleString("en") + " of " + kept.length.toLocaleString("en") + " " + noun;
      more.hidden = kept.length <= shown;
    };
    const refresh = () => { shown = FIRST; select(); render(); };
    filter.addEventListener("input", refresh);
    more.addEventListener("click", () => { shown += MORE; render(); });
    part("grid-csv").addEventListener("click", () => {
      const lines = [columns.map((c) => cell(c.name || c.title))];
      for (const row of kept) lines.push(columns.map((c) => cell(c.get(row))));
      save(lines.map((line) => line.join(",")).join("\n") + "\n", file);
    });
    return { refresh, kept: () => kept };
  };
