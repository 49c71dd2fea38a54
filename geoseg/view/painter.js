"use strict";
// The features as two pictures, fills and lines, painted in slices so that the page stays alive while many are drawn.

const SLICE_MS = 12;
const BATCH = 256; // features of a path: one path of all would be slow to fill, one path each slow to start
const MARGIN = 0.25; // share of the view painted beyond each of its sides, for moving the map

/** Where the page looks: centre in page metres, page metres of a CSS pixel. */
class View {
  constructor(x, y, scale) {
    Object.assign(this, { x, y, scale });
  }

  equals(other) {
    return other && this.x === other.x && this.y === other.y && this.scale === other.scale;
  }

  /** Box in page metres of a screen of a width and height in CSS pixels. */
  box(width, height) {
    const dx = (width / 2) * this.scale, dy = (height / 2) * this.scale;
    return [this.x - dx, this.y - dy, this.x + dx, this.y + dy];
  }
}

/** Colours in one place: fill, outline (darker, so that neighbours of one class stay apart) and casing of lines. */
function shade(color) {
  const parts = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  const darker = parts.map((v) => Math.round(v * 0.55));
  return { fill: color, outline: `rgb(${darker})`, casing: "rgb(20 24 28 / .75)" };
}

/** One painting of the features for one view. */
class Painting {
  constructor(view, width, height, ratio) {
    Object.assign(this, { view, width: width * (1 + 2 * MARGIN), height: height * (1 + 2 * MARGIN), ratio });
    this.box = view.box(this.width, this.height);
    this.screen = view.box(width, height);
    this.inView = 0;
    [this.fills, this.lines] = [0, 1].map(() => {
      const canvas = document.createElement("canvas");
      canvas.width = Math.ceil(this.width * ratio);
      canvas.height = Math.ceil(this.height * ratio);
      return canvas;
    });
  }

  /** Paint the features that pass, giving way after every batch. */
  *paint(groups, passes, colors) {
    for (const group of groups.filter((g) => g.kind === "polygon")) yield* this.paintGroup(group, passes, colors);
    for (const group of groups.filter((g) => g.kind === "line")) yield* this.paintGroup(group, passes, colors);
  }

  *paintGroup(group, passes, colors) {
    const byClass = colors.map(() => []);
    for (let i = 0; i < group.count; i++) {
      if (!group.isNear(i, this.box) || !passes(group, i)) continue;
      byClass[group.classes[i]].push(i);
      if (group.isNear(i, this.screen)) this.inView++;
    }
    for (const [number, members] of byClass.entries()) {
      for (let start = 0; start < members.length; start += BATCH) {
        const batch = members.slice(start, start + BATCH);
        if (group.kind === "polygon") this.paintPolygons(group, batch, colors[number]);
        else this.paintLines(group, batch, colors[number]);
        yield;
      }
    }
  }

  paintPolygons(group, batch, color) {
    const area = new Path2D(), outline = new Path2D();
    for (const i of batch) {
      const [west, south, east, north] = group.boxes.subarray(4 * i, 4 * i + 4);
      const size = Math.max(east - west, north - south) / this.view.scale;
      if (size < 1) {
        area.rect(...this.toPixel((west + east) / 2, (south + north) / 2), this.ratio, this.ratio);
        continue;
      }
      this.trace(area, group, i);
      if (size > 4) this.trace(outline, group, i);
    }
    const context = this.fills.getContext("2d"), pen = this.lines.getContext("2d");
    context.fillStyle = color.fill;
    context.fill(area);
    pen.strokeStyle = color.outline;
    pen.lineWidth = 1.1 * this.ratio;
    pen.stroke(outline);
  }

  paintLines(group, batch, color) {
    const path = new Path2D();
    for (const i of batch) this.trace(path, group, i);
    const pen = this.lines.getContext("2d");
    pen.lineJoin = pen.lineCap = "round";
    for (const [style, width] of [[color.casing, 4.5], [color.fill, 2.5]]) {
      pen.strokeStyle = style;
      pen.lineWidth = width * this.ratio;
      pen.stroke(path);
    }
  }

  trace(path, group, i) {
    traceFeature(path, group, i, (x, y) => this.toPixel(x, y), this.ratio / 2);
  }

  toPixel(x, y) {
    const k = this.ratio / this.view.scale;
    return [(x - this.box[0]) * k, (this.box[3] - y) * k];
  }
}

/** Add a feature to a path, leaving out vertices that lie closer than `least` pixels to the one before. */
function traceFeature(path, group, i, toPixel, least) {
  for (let [ring, last] = group.rings(i); ring < last; ring++) {
    const [start, end] = group.vertices(ring);
    let px = NaN, py = NaN;
    for (let v = start; v < end; v++) {
      const [x, y] = toPixel(group.xy[2 * v], group.xy[2 * v + 1]);
      if (v === start) path.moveTo(x, y);
      else if (v === end - 1 || Math.abs(x - px) > least || Math.abs(y - py) > least) path.lineTo(x, y);
      else continue;
      px = x;
      py = y;
    }
    if (group.kind === "polygon") path.closePath();
  }
}
