// Filters: terms such as `area_mm2 <= 100`, `sparsity = 2:4`, or a word; all of them hold.
const TERM = /^\s*([A-Za-z_][\w.-]*)\s*(<=|>=|!=|==|=|<|>)\s*(.+?)\s*$/;
const FACTS = ["number", "fidelity", "duration_s"];

export function valueOf(point, name) {
  if (name in point.metrics) return point.metrics[name];
  if (name in point.values) return point.values[name];
  return FACTS.includes(name) ? point[name] : undefined;
}

// The name that is meant: whole, or the end of just one name after a dot.
function meant(word, names) {
  if (names.includes(word)) return word;
  const ends = names.filter((name) => name.endsWith("." + word));
  if (ends.length === 1) return ends[0];
  const listed = names.slice(0, 12).join(", ");
  throw new Error(ends.length ? `${word} may be ${ends.join(" or ")}` : `no figure or parameter ${word}; there are ${listed}`);
}

const COMPARE = {
  "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "<": (a, b) => a < b, ">": (a, b) => a > b,
};

function term(text, names) {
  const found = TERM.exec(text);
  if (!found) {
    const word = text.trim().toLowerCase();
    return (point) => [...Object.values(point.values), point.fidelity, point.error || ""]
      .some((value) => String(value).toLowerCase().includes(word));
  }
  const [, word, sign, wanted] = found;
  const name = meant(word, names);
  const wantedNumber = Number(wanted);
  if (sign in COMPARE) {
    if (Number.isNaN(wantedNumber)) throw new Error(`${word} ${sign} needs a number, not ${wanted}`);
    return (point) => {
      const value = valueOf(point, name);
      return typeof value === "number" && COMPARE[sign](value, wantedNumber);
    };
  }
  const equal = (point) => {
    const value = valueOf(point, name);
    return typeof value === "number" ? value === wantedNumber : String(value) === wanted;
  };
  return sign === "!=" ? (point) => !equal(point) : equal;
}

// A function that says whether a point passes. Throws Error with what is wrong.
export function parseFilter(text, known) {
  const terms = text.split(",").filter((part) => part.trim()).map((part) => term(part, [...known, ...FACTS]));
  return (point) => terms.every((holds) => holds(point));
}
