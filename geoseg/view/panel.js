"use strict";
// What stands beside the map: switches, sliders, chart, attributes; and how the page starts.

const element = (id) => document.getElementById(id);
const SETTLE_MS = 150; // how long the view rests before a server is asked
const FINE_SCALE = 0.04; // page metres of a pixel at which answers leave no detail out
const AHEAD = 0.3; // share of the view asked for beyond each of its sides

function make(tag, className = "", text = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

function round(value, digits = 3) {
  return value.toLocaleString("en", { maximumSignificantDigits: digits });
}

function formatArea(m2) {
  if (m2 >= 1e6) return `${round(m2 / 1e6)} km²`;
  return m2 >= 1e5 ? `${round(m2 / 1e4)} ha` : `${round(m2)} m²`;
}

function formatLength(m) {
  return m >= 1000 ? `${round(m / 1000)} km` : `${round(m)} m`;
}

/** A value as people read it, by the unit at the end of its name. */
function formatValue(name, value) {
  if (value === null || value === undefined) return "unknown";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  const text = Number.isInteger(value) ? String(value) : value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 3 : 1 });
  const [, unit] = name.match(/_(m2|m|deg)$/) ?? [];
  return text + ({ m2: " m²", m: " m", deg: "°" }[unit] ?? "");
}

function formatName(name) {
  return name.replace(/_(m2|m|deg)$/, "").replaceAll("_", " ");
}

class Panel {
  constructor(meta, map) {
    Object.assign(this, { meta, map, minConfidence: 0 });
    this.classesOn = meta.classes.map(() => true);
    this.layersOn = meta.layers.map(() => true);
    this.totals = meta.totals;
    map.passes = (group, i) => this.passes(group, i);
    map.onView = () => this.drawScale();
    map.onHover = (feature, px, py) => this.showTip(feature, px, py);
    map.onPick = (feature) => this.showFeature(feature);
    map.onPainted = (count) => this.showStatus(count);
    this.addSwitches();
    this.addSliders();
    for (const [id, factor] of [["zoom-in", 0.5], ["zoom-out", 2]]) element(id).onclick = () => map.zoom(factor);
    element("zoom-all").onclick = () => map.fit();
    element("chart-note").textContent = meta.served ? "Of the whole layer, as stored." : "Of what the switches let through.";
    this.drawScale();
    this.drawChart();
  }

  passes(group, i) {
    const confidence = group.confidence?.[i];
    const isSure = typeof confidence !== "number" || confidence >= this.minConfidence; // what has none stays
    return isSure && this.classesOn[group.classes[i]] && this.layersOn[group.layer];
  }

  change() {
    this.map.repaint();
    this.drawChart();
  }

  addSwitches() {
    const count = (key, i) => this.totals.reduce((sum, t) => sum + (t[key] === i ? t.count : 0), 0);
    this.meta.classes.forEach((c, i) => {
      const swatch = make("span", "swatch");
      swatch.style.background = c.color;
      const toggle = (on) => (this.classesOn[i] = on);
      element("classes").append(this.makeSwitch(c.name, count("class", i), toggle, swatch));
    });
    this.meta.layers.forEach((name, i) => {
      element("layers").append(this.makeSwitch(name, count("layer", i), (on) => (this.layersOn[i] = on)));
    });
    if (this.meta.image) element("layers").append(this.makeSwitch("imagery", null, (on) => (this.map.showImage = on)));
  }

  makeSwitch(name, count, toggle, ...marks) {
    const box = make("input");
    Object.assign(box, { type: "checkbox", checked: true });
    box.onchange = () => {
      toggle(box.checked);
      this.change();
    };
    const number = count === null ? [] : [make("span", "count", count.toLocaleString("en"))];
    return make("li", "", "", make("label", "", "", box, ...marks, make("span", "name", name), ...number));
  }

  addSliders() {
    const opacity = element("opacity"), confidence = element("confidence");
    opacity.oninput = () => {
      this.map.opacity = opacity.value / 100;
      element("opacity-value").textContent = `${opacity.value} %`;
      this.map.compose();
    };
    confidence.oninput = () => {
      this.minConfidence = Number(confidence.value);
      element("confidence-value").textContent = this.minConfidence ? this.minConfidence.toFixed(2) : "any";
      this.change();
    };
    opacity.oninput();
    element("confidence-value").textContent = "any";
    const isKnown = this.meta.served || this.map.groups.some((g) => g.confidence?.some((v) => v !== null));
    element("confidence-row").hidden = !(this.meta.hasConfidence && isKnown);
  }

  /** Count and measure per class and kind: of the layer where it is served, else of the features that pass. */
  sumUp() {
    const sums = this.meta.classes.map(() => ({ polygon: 0, line: 0 }));
    if (this.meta.served) {
      for (const t of this.totals) if (t.kind) sums[t.class][t.kind] += t.measure ?? 0;
      return sums;
    }
    for (const group of this.map.groups) {
      for (let i = 0; i < group.count; i++) {
        if (this.passes(group, i)) sums[group.classes[i]][group.kind] += group.measure[i] ?? 0;
      }
    }
    return sums;
  }

  drawChart() {
    const sums = this.sumUp(), whole = sums.reduce((sum, s) => sum + s.polygon, 0);
    const most = Math.max(...sums.map((s) => s.polygon), 0);
    const rows = this.meta.classes.map((c, i) => {
      const { polygon, line } = sums[i];
      const parts = [];
      if (polygon) parts.push(`${formatArea(polygon)} · ${round((100 * polygon) / whole, 2)} %`);
      if (line) parts.push(formatLength(line));
      const bar = make("div", "bar");
      bar.style.width = `${most ? (100 * polygon) / most : 0}%`;
      bar.style.background = c.color;
      bar.hidden = !polygon;
      bar.setAttribute("aria-hidden", "true");
      const text = make("div", "text", "", make("span", "", c.name), make("span", "count", parts.join(", ") || "–"));
      return make("li", "", "", text, bar);
    });
    element("chart").replaceChildren(...rows);
  }

  drawScale() {
    const { view } = this.map, pixel = view.scale * groundScale(view.y);
    const power = 10 ** Math.floor(Math.log10(110 * pixel));
    const length = Math.max(...[1, 2, 5].map((k) => k * power).filter((m) => m <= 110 * pixel));
    const bar = element("scale").firstElementChild;
    bar.style.width = `${length / pixel}px`;
    bar.textContent = length < 1 ? `${round(length * 100)} cm` : formatLength(length);
    element("scale").setAttribute("aria-label", `The scale bar spans ${bar.textContent} on the ground.`);
  }

  describe({ group, index }) {
    const kind = this.meta.classes[group.classes[index]];
    const swatch = make("span", "swatch");
    swatch.style.background = kind.color;
    const rows = group.attributes(index).filter(([name, value]) => value !== null && value !== kind.name && name !== "class_id")
      .map(([name, value]) => make("tr", "", "", make("th", "", formatName(name)), make("td", "", formatValue(name, value))));
    return [make("p", "head", "", swatch, kind.name), make("table", "", "", make("tbody", "", "", ...rows))];
  }

  showTip(feature, px, py) {
    const tip = element("tip"), [width, height] = this.map.size;
    tip.hidden = !feature;
    if (!feature) return;
    tip.replaceChildren(...this.describe(feature));
    tip.style.left = `${px + 16 + tip.offsetWidth > width ? Math.max(0, px - 12 - tip.offsetWidth) : px + 16}px`;
    tip.style.top = `${Math.max(0, Math.min(py + 14, height - tip.offsetHeight - 8))}px`;
  }

  showFeature(feature) {
    element("feature").replaceChildren(...(feature ? this.describe(feature) : [make("p", "note", "Nothing here.")]));
    element("feature-title").scrollIntoView({ block: "nearest" });
    this.map.hovered = feature;
    this.map.compose();
  }

  showStatus(count) {
    const whole = this.totals.reduce((sum, t) => sum + t.count, 0);
    const capped = this.counts?.some((c) => c.shown < c.total);
    const hint = capped ? "; only the largest here, zoom in for all" : "";
    element("status").textContent = `${count.toLocaleString("en")} of ${whole.toLocaleString("en")} features in view${hint}`;
    element("status").className = "";
  }

  showFault(text) {
    element("status").textContent = text;
    element("status").className = "fault";
  }
}

/** Keep the map filled from the server that gave the page. */
function followView(map, panel) {
  let timer = 0, asked = null, held = null;
  const covers = (outer, inner) => inner.every((v, i) => (i < 2 ? outer[i] <= v : outer[i] >= v));
  const ask = async () => {
    const [west, south, east, north] = map.box, dx = AHEAD * (east - west), dy = AHEAD * (north - south);
    const { scale } = map.view;
    const isCoarse = held && scale < held.scale * (held.isCapped ? 1 : 0.5) && (held.isCapped || held.scale > FINE_SCALE);
    if (held && covers(held.box, map.box) && !isCoarse) return;
    const box = [west - dx, south - dy, east + dx, north + dy];
    asked?.abort();
    asked = new AbortController();
    try {
      const answer = await fetch(`features?box=${box}&pixel=${scale}`, { signal: asked.signal });
      if (!answer.ok) throw new Error(await answer.text());
      const { groups, counts } = await answer.json();
      panel.counts = counts;
      held = { box, scale, isCapped: counts.some((c) => c.shown < c.total) };
      map.setGroups(groups.map((raw) => new FeatureGroup(raw)));
    } catch (error) {
      if (error.name !== "AbortError") panel.showFault(`The server gave no features: ${error.message}`);
    }
  };
  const drawScale = map.onView;
  map.onView = (view) => {
    drawScale(view);
    clearTimeout(timer);
    timer = setTimeout(ask, SETTLE_MS);
  };
  ask();
}

async function start() {
  const tiles = JSON.parse(element("tiles").textContent);
  const data = await unpack(element("data").textContent);
  const tileUrl = data.served ? (name) => `tiles/${name}.webp` : (name) => tiles[name];
  const map = new GeoMap(element("map"), data, tileUrl);
  map.groups = (data.groups ?? []).map((raw) => new FeatureGroup(raw));
  const panel = new Panel(data, map);
  map.repaint();
  if (data.served) followView(map, panel);
}

start().catch((error) => {
  element("status").textContent = `The map cannot be drawn: ${error.message}`;
  element("status").className = "fault";
});
