"use strict";
// The features of a page: decoded from steps into metres of the page's plane, and found by position.

const RADIUS_M = 6378137;
const WORLD_M = 2 * Math.PI * RADIUS_M;

/** Ground metres that a page metre spans from west to east at a y of the page's plane. */
function groundScale(y) {
  const lat = Math.atan(Math.sinh(y / RADIUS_M));
  return Math.cos(lat) / Math.sqrt(1 - 0.0066943799901413165 * Math.sin(lat) ** 2);
}

/** Base64 of gzip of JSON. */
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** Polygons or lines of one layer, as flat arrays. */
class FeatureGroup {
  constructor(raw) {
    Object.assign(this, {
      layer: raw.layer, kind: raw.kind, count: raw.count, classes: raw.classes, measure: raw.measure,
      columns: raw.columns, confidence: raw.columns.confidence,
    });
    this.xy = new Float64Array(raw.xy.length);
    let x = 0, y = 0;
    for (let i = 0; i < raw.xy.length; i += 2) {
      x += raw.xy[i];
      y += raw.xy[i + 1];
      this.xy[i] = raw.origin[0] + x * raw.step;
      this.xy[i + 1] = raw.origin[1] + y * raw.step;
    }
    this.ringEnds = sumUp(raw.sizes);
    this.featureEnds = sumUp(raw.rings);
    this.boxes = this.measureBoxes();
  }

  /** First and last ring of a feature, the last one left out. */
  rings(i) {
    return [i ? this.featureEnds[i - 1] : 0, this.featureEnds[i]];
  }

  /** First and last vertex of a ring, the last one left out. */
  vertices(ring) {
    return [ring ? this.ringEnds[ring - 1] : 0, this.ringEnds[ring]];
  }

  measureBoxes() {
    const boxes = new Float64Array(4 * this.count);
    for (let i = 0; i < this.count; i++) {
      const [first, last] = this.rings(i);
      let west = Infinity, south = Infinity, east = -Infinity, north = -Infinity;
      for (let v = this.vertices(first)[0]; v < this.vertices(last - 1)[1]; v++) {
        const x = this.xy[2 * v], y = this.xy[2 * v + 1];
        west = Math.min(west, x);
        east = Math.max(east, x);
        south = Math.min(south, y);
        north = Math.max(north, y);
      }
      boxes.set([west, south, east, north], 4 * i);
    }
    return boxes;
  }

  /** Whether a feature's box comes within a distance of a box. */
  isNear(i, [west, south, east, north], reach = 0) {
    const b = this.boxes, k = 4 * i;
    return b[k] - reach <= east && b[k + 2] + reach >= west && b[k + 1] - reach <= north && b[k + 3] + reach >= south;
  }

  /** Whether a point lies in a polygon, or within a distance of a line. */
  isAt(i, x, y, reach) {
    return this.kind === "line" ? this.isBeside(i, x, y, reach) : this.isWithin(i, x, y);
  }

  isWithin(i, x, y) {
    let inside = false;
    for (let [ring, last] = this.rings(i); ring < last; ring++) {
      const [start, end] = this.vertices(ring);
      for (let v = start, w = end - 1; v < end; w = v++) {
        const x1 = this.xy[2 * v], y1 = this.xy[2 * v + 1], x2 = this.xy[2 * w], y2 = this.xy[2 * w + 1];
        if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) inside = !inside;
      }
    }
    return inside;
  }

  isBeside(i, x, y, reach) {
    for (let [ring, last] = this.rings(i); ring < last; ring++) {
      const [start, end] = this.vertices(ring);
      for (let v = start + 1; v < end; v++) {
        const x1 = this.xy[2 * v - 2], y1 = this.xy[2 * v - 1];
        const dx = this.xy[2 * v] - x1, dy = this.xy[2 * v + 1] - y1;
        const along = Math.max(0, Math.min(1, ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy || 1)));
        if (Math.hypot(x1 + along * dx - x, y1 + along * dy - y) <= reach) return true;
      }
    }
    return false;
  }

  /** Attribute names and values of a feature. */
  attributes(i) {
    return Object.entries(this.columns).map(([name, values]) => [name, values[i]]);
  }
}

function sumUp(counts) {
  let sum = 0;
  return Uint32Array.from(counts, (n) => (sum += n));
}
