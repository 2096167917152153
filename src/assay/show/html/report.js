"use strict";
(() => {
  // ---------------------------------------------------------------- sorting
  const announce = document.createElement("p");
  announce.className = "unseen";
  announce.setAttribute("role", "status");
  announce.id = "sort-status";
  document.querySelector("main").append(announce);

  const compare = (a, b, direction, textual) => {
    // What is missing stands last in both directions.
    if (a === "" || b === "") return (a === "") - (b === "");
    return direction * (textual ? a.localeCompare(b) : Number(a) - Number(b));
  };

  const sortBy = (header) => {
    const table = header.closest("table");
    const headers = [...header.parentElement.children];
    const place = headers.indexOf(header);
    const textual = header.dataset.better === "text";
    const before = header.getAttribute("aria-sort");
    const first = header.dataset.better === "higher" ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const now = before === first ? other : first;
    for (const each of headers) each.setAttribute("aria-sort", each === header ? now : "none");
    const body = table.tBodies[0];
    const direction = now === "ascending" ? 1 : -1;
    const value = (row) => row.cells[place].dataset.sort;
    [...body.rows].sort((a, b) => compare(value(a), value(b), direction, textual)).forEach((row) => body.append(row));
    announce.textContent = `Sorted by ${header.querySelector(".name").textContent}, ${now}`;
  };

  for (const button of document.querySelectorAll("th[aria-sort] button")) {
    button.addEventListener("click", () => sortBy(button.closest("th")));
  }

  // ---------------------------------------------------------------- filtering
  const form = document.getElementById("filter");
  const text = document.getElementById("filter-text");
  const status = document.getElementById("filter-status");
  const count = document.getElementById("filter-count");
  const rows = [...document.querySelectorAll("#numbers-table tbody tr")];
  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    let seen = 0;
    for (const row of rows) {
      const fits = row.textContent.toLowerCase().includes(wanted) && (!status.value || row.dataset.status === status.value);
      row.hidden = !fits;
      seen += fits;
    }
    count.textContent = `${seen} of ${rows.length} variants`;
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const name of ["input", "change"]) form.addEventListener(name, filter);
  filter();

  // ---------------------------------------------------------------- charts
  const specs = JSON.parse(document.getElementById("chart-specs").textContent);
  const palette = () => {
    const style = getComputedStyle(document.documentElement);
    return (name) => style.getPropertyValue(`--${name}`).trim();
  };
  const coloured = (part, token) => {
    if (typeof part === "string") return part.startsWith("token:") ? token(part.slice(6)) : part;
    if (Array.isArray(part)) return part.map((each) => coloured(each, token));
    if (part && typeof part === "object") {
      return Object.fromEntries(Object.entries(part).map(([key, each]) => [key, coloured(each, token)]));
    }
    return part;
  };
  const theme = (token) => {
    const font = getComputedStyle(document.body).fontFamily;
    const words = { labelColor: token("muted"), titleColor: token("muted"), labelFont: font, titleFont: font };
    return {
      font,
      view: { stroke: null },
      axis: { ...words, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500, titlePadding: 10, gridColor: token("line"),
        domainColor: token("line"), tickColor: token("line"), labelLimit: 140 },
      legend: { ...words, labelColor: token("ink"), labelFontSize: 12, titleFontSize: 12 },
      text: { font, fontSize: 12 },
    };
  };
  // The values of a distribution travel as columns, since thousands of objects would be mostly names. Where values are
  // dense their points spread further from the middle of the strip, so that the cloud has the shape of the distribution.
  const BINS = 120;
  const points = ({ columns, variants }) => {
    const at = columns.t.map(Math.log);
    const low = at.reduce((a, b) => Math.min(a, b), Infinity);
    const step = (at.reduce((a, b) => Math.max(a, b), -Infinity) - low) / BINS || 1;
    const place = (i) => Math.min(BINS - 1, Math.floor((at[i] - low) / step));
    const counts = variants.map(() => new Array(BINS).fill(0));
    at.forEach((_, i) => { counts[columns.v[i]][place(i)] += 1; });
    const most = counts.map((each) => each.reduce((a, b) => Math.max(a, b), 1));
    // Between the middles of two bins the density goes over from one to the other.
    const density = (v, i) => {
      const from = (at[i] - low) / step - 0.5;
      const left = Math.max(0, Math.floor(from));
      const right = Math.min(BINS - 1, left + 1);
      const share = Math.min(1, Math.max(0, from - left));
      return ((1 - share) * counts[v][Math.min(left, BINS - 1)] + share * counts[v][right]) / most[v];
    };
    return columns.t.map((t, i) => {
      const v = columns.v[i];
      const spread = 0.04 + 0.44 * density(v, i);
      const jitter = 0.5 + spread * (2 * ((i * 0.6180339887) % 1) - 1);
      return { t, r: columns.r[i], n: columns.n[i], s: columns.s[i], variant: variants[v], kind: columns.w[i] ? "warm-up" : "steady", jitter };
    });
  };

  const draw = async () => {
    const token = palette();
    for (const box of document.querySelectorAll("[data-chart]")) {
      const spec = coloured(structuredClone(specs[box.dataset.chart]), token);
      // A timeline shows the same values as a distribution, which alone carries them.
      const raw = spec.usermeta?.of ? specs[spec.usermeta.of].usermeta : spec.usermeta;
      delete spec.usermeta;
      if (raw) spec.datasets = { columns: points(raw) };
      const options = { actions: false, renderer: raw && raw.canvas ? "canvas" : "svg", config: theme(token), tooltip: { theme: "custom" } };
      box.view?.finalize();
      box.view = (await vegaEmbed(box, spec, options)).view;
    }
    document.documentElement.dataset.charts = "drawn";
  };
  const redraw = () => draw().catch((error) => console.error(error));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  redraw();
})();
