  const $ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const drawn = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const option = (text, value) => Object.assign(make("option", text), { value });
  document.documentElement.classList.add("js");

  // Numbers with units.
  const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"], [1e-12, "p"]];
  const digits = (v) => v.toLocaleString("en", { maximumSignificantDigits: 3, minimumSignificantDigits: 3 });
  const si = (value, unit) => {
    if (value === null || !Number.isFinite(value)) return "–";
    if (value === 0) return "0";
    const [factor, prefix] = PREFIXES.find(([f]) => Math.abs(value) >= f * 0.9995) || [1e-12, "p"];
    const text = Math.abs(value) < 1000 && Number.isInteger(value) ? String(value) : digits(value / factor);
    return (text + " " + prefix + unit).trim();
  };
  const percent = (v) => v === null ? "–" : v > 0 && v < 0.005 ? "<1 %" : Math.round(v * 100) + " %";

  // Tooltips: the titles of marks, shown at once and also on touch.
  const tip = document.body.appendChild(make("div"));
  tip.id = "tip";
  tip.setAttribute("aria-hidden", "true");
  for (const title of $("figure svg title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
  const point = (event) => {
    const text = event.target.dataset && event.target.dataset.tip;
    tip.style.visibility = text ? "visible" : "hidden";
    if (!text) return;
    tip.textContent = text;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - box.width - 4)) + "px";
    tip.style.top = (event.clientY > box.height + 20 ? event.clientY - box.height - 10 : event.clientY + 16) + "px";
  };
  for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, point);
  document.addEventListener("scroll", () => { tip.style.visibility = "hidden"; }, { passive: true });

  // On paper everything is open.
  addEventListener("beforeprint", () => $("details").forEach((d) => { d.open = true; }));
