"use strict";
// Draws the figures in the theme of the page, and what is chosen of the published behind them.
{
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 520px)");
  const settings = { displayModeBar: false, responsive: true, showLink: false };

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Plotly keeps the objects that it is given, and changes them.
  const themed = (layout) => {
    const axis = { gridcolor: color("--line"), zerolinecolor: color("--line"), automargin: true };
    const margin = narrow.matches ? { l: 40, r: 6, t: 8, b: 40 } : layout.margin;
    return {
      ...layout, margin,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { ...layout.font, color: color("--ink") },
      hoverlabel: { bgcolor: color("--paper"), font: { color: color("--ink") }, align: "left", namelength: 60 },
      xaxis: { ...layout.xaxis, ...axis },
      yaxis: { ...layout.yaxis, ...axis },
      shapes: (layout.shapes || []).map((shape) => ({
        ...shape, label: { ...shape.label, font: { size: 11, color: color("--quiet") } },
      })),
    };
  };

  // A chart is drawn when it comes near the window: a suite has hundreds.
  const seen = new Set();
  const draw = (id) => {
    if (seen.has(id)) {
      Plotly.react(id, figures[id].data, themed(figures[id].layout), settings);
    }
  };
  const show = (id) => {
    watcher.unobserve(document.getElementById(id));
    seen.add(id);
    draw(id);
  };
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) show(entry.target.id);
  }, { rootMargin: "600px" });

  // What the check boxes and the button of a section say, in the figures of its curves.
  const choose = (section) => {
    const button = section.querySelector("button.far");
    const far = button !== null && button.getAttribute("aria-pressed") === "true";
    const drawn = new Set();
    for (const box of section.querySelectorAll("input[data-key]")) {
      if (box.checked) drawn.add(box.dataset.key);
    }
    for (const chart of section.querySelectorAll(".pair:first-of-type .chart")) {
      const figure = figures[chart.id];
      let end = 0;
      for (const trace of figure.data) {
        if (!trace.meta) continue;
        end = Math.max(end, trace.x[trace.x.length - 1]);
        trace.visible = drawn.has(trace.meta.published) && (trace.meta.part === "far") === far;
      }
      for (const shape of figure.layout.shapes || []) shape.visible = drawn.has(shape.name);
      if (end) {
        figure.near = figure.near || figure.layout.xaxis.range;
        figure.layout.xaxis = { ...figure.layout.xaxis, range: far ? [0, end] : [...figure.near] };
      }
      draw(chart.id);
    }
  };

  for (const section of document.querySelectorAll("section.part")) {
    for (const box of section.querySelectorAll("input[data-key]")) {
      box.addEventListener("change", () => choose(section));
    }
    for (const button of section.querySelectorAll("button.far")) {
      button.addEventListener("click", () => {
        const pressed = button.getAttribute("aria-pressed") === "true";
        button.setAttribute("aria-pressed", String(!pressed));
        choose(section);
      });
    }
  }
  for (const id of Object.keys(figures)) watcher.observe(document.getElementById(id));
  const redraw = () => seen.forEach(draw);
  dark.addEventListener("change", redraw);
  narrow.addEventListener("change", redraw);
  addEventListener("beforeprint", () => Object.keys(figures).forEach(show));

  // What is open stays open when the page loads itself again.
  const details = [...document.querySelectorAll("details")];
  const key = `open ${location.pathname}`;
  const name = (one) => {
    const figure = one.closest("figure");
    const title = one.closest("section").querySelector("h2");
    const parts = [title, figure && figure.querySelector("h3"), one.firstElementChild];
    return parts.map((part) => part && part.textContent).join("\n");
  };
  const remembered = new Set(JSON.parse(sessionStorage.getItem(key) || "[]"));
  for (const one of details) {
    one.open = remembered.has(name(one));
    one.addEventListener("toggle", () => {
      const opened = details.filter((part) => part.open).map(name);
      sessionStorage.setItem(key, JSON.stringify(opened));
    });
  }
}
