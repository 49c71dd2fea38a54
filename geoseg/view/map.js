"use strict";
// The map: imagery, the latest painting of the features laid over it, and what pointer and keys do.

const TILE_PX = 512;
const FINEST_SCALE = 0.005; // page metres of a pixel
const PAN_PX = 80;
const HIT_PX = 6;

class GeoMap {
  constructor(canvas, meta, tileUrl) {
    Object.assign(this, { canvas, meta, tileUrl, groups: [], tiles: new Map(), opacity: 0.5, showImage: true });
    this.colors = meta.classes.map((c) => shade(c.color));
    this.passes = () => true;
    this.painting = this.hovered = this.job = null;
    this.onView = this.onHover = this.onPick = this.onPainted = () => {};
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.resize();
    this.fit();
    this.listen();
  }

  get size() {
    return [this.canvas.clientWidth, this.canvas.clientHeight];
  }

  get box() {
    return this.view.box(...this.size);
  }

  setGroups(groups) {
    this.groups = groups;
    this.setHovered(null);
    this.repaint();
  }

  resize() {
    this.ratio = window.devicePixelRatio || 1;
    const [width, height] = this.size.map((side) => Math.round(side * this.ratio));
    if (width === this.canvas.width && height === this.canvas.height) return;
    Object.assign(this.canvas, { width, height });
    if (this.view) this.look(this.view.x, this.view.y, this.view.scale);
  }

  fit() {
    const [west, south, east, north] = this.meta.extent, [width, height] = this.size;
    const scale = 1.06 * Math.max((east - west) / Math.max(width, 1), (north - south) / Math.max(height, 1));
    this.look((west + east) / 2, (south + north) / 2, scale || 1);
  }

  look(x, y, scale) {
    const half = WORLD_M / 2, clamp = (v) => Math.max(-half, Math.min(half, v));
    const coarsest = (1.5 * WORLD_M) / Math.max(1, Math.min(...this.size));
    this.view = new View(clamp(x), clamp(y), Math.max(FINEST_SCALE, Math.min(coarsest, scale)));
    this.repaint();
    this.onView(this.view);
  }

  move(dx, dy) {
    this.look(this.view.x + dx * this.view.scale, this.view.y - dy * this.view.scale, this.view.scale);
  }

  /** Zoom by a factor about a place on the screen, which stays where it is. */
  zoom(factor, px = this.size[0] / 2, py = this.size[1] / 2) {
    const [x, y] = this.toPage(px, py), old = this.view.scale;
    this.view = new View(this.view.x, this.view.y, old * factor);
    const [newX, newY] = this.toPage(px, py);
    this.look(this.view.x + x - newX, this.view.y + y - newY, old * factor);
  }

  toPage(px, py) {
    const [width, height] = this.size, { x, y, scale } = this.view;
    return [x + (px - width / 2) * scale, y - (py - height / 2) * scale];
  }

  /** Ask for a new painting; one that is under way is finished first, so that something new is always seen. */
  repaint() {
    this.stale = true;
    this.compose();
    if (!this.job) this.startJob();
  }

  startJob() {
    this.stale = false;
    this.canvas.dataset.state = "painting";
    const painting = new Painting(this.view, ...this.size, this.ratio);
    this.job = painting.paint(this.groups, this.passes, this.colors);
    const step = () => {
      const begin = performance.now();
      let done = false;
      while (!done && performance.now() - begin < SLICE_MS) done = this.job.next().done;
      if (!done) return void requestAnimationFrame(step);
      this.job = null;
      this.painting = painting;
      this.compose();
      if (this.stale) return void this.startJob();
      this.canvas.dataset.state = "ready";
      this.onPainted(painting.inView);
    };
    requestAnimationFrame(step);
  }

  compose() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const context = this.canvas.getContext("2d"), k = this.ratio / this.view.scale, [west, , , north] = this.box;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.imageSmoothingQuality = "high";
    if (this.showImage && this.meta.image) this.drawTiles(context);
    if (this.painting) {
      const { box, fills, lines } = this.painting;
      const place = [(box[0] - west) * k, (north - box[3]) * k, (box[2] - box[0]) * k, (box[3] - box[1]) * k];
      context.globalAlpha = this.opacity;
      context.drawImage(fills, ...place);
      context.globalAlpha = Math.min(1, 2 * this.opacity);
      context.drawImage(lines, ...place);
      context.globalAlpha = 1;
    }
    if (this.hovered) this.drawHovered(context, (x, y) => [(x - west) * k, (north - y) * k]);
  }

  drawHovered(context, toPixel) {
    const path = new Path2D();
    traceFeature(path, this.hovered.group, this.hovered.index, toPixel, 0.5);
    context.lineJoin = "round";
    for (const [style, width] of [["#000", 5], ["#fff", 2.5]]) {
      context.strokeStyle = style;
      context.lineWidth = width * this.ratio;
      context.stroke(path);
    }
  }

  drawTiles(context) {
    const { coarsest, finest } = this.meta.image;
    const wanted = Math.round(Math.log2(WORLD_M / (TILE_PX * (this.view.scale / this.ratio))));
    const level = Math.max(coarsest, Math.min(finest, wanted));
    const tiles = this.listTiles(level);
    // Coarser tiles fill the gaps until the wanted ones are there.
    if (tiles.some((key) => !this.isLoaded(key))) {
      for (let z = coarsest; z < level; z++) {
        for (const key of this.listTiles(z)) if (this.isLoaded(key)) this.drawTile(context, key);
      }
    }
    for (const key of tiles) this.drawTile(context, key);
  }

  listTiles(level) {
    const side = WORLD_M / 2 ** level, middle = 2 ** level / 2, keys = [];
    const seen = this.box.map((v, i) => (i < 2 ? Math.max : Math.min)(v, this.meta.image.box[i]) / side);
    for (let row = Math.floor(middle - seen[3]); row <= Math.floor(middle - seen[1]); row++) {
      for (let col = Math.floor(seen[0] + middle); col <= Math.floor(seen[2] + middle); col++) keys.push([level, col, row]);
    }
    return keys;
  }

  isLoaded(key) {
    return this.tiles.get(key.join("/"))?.complete;
  }

  drawTile(context, [level, col, row]) {
    const name = `${level}/${col}/${row}`, url = this.tileUrl(name);
    if (!url) return;
    let image = this.tiles.get(name);
    if (!image) {
      image = new Image();
      image.onload = () => this.compose();
      image.src = url;
      this.tiles.set(name, image);
    }
    if (!image.complete || !image.naturalWidth) return;
    const side = WORLD_M / 2 ** level, k = this.ratio / this.view.scale, [west, , , north] = this.box;
    const left = (col * side - WORLD_M / 2 - west) * k, top = (north - WORLD_M / 2 + row * side) * k;
    // Whole pixels: no seam shows between tiles.
    const [x, y, right, bottom] = [left, top, left + side * k, top + side * k].map(Math.round);
    context.drawImage(image, x, y, right - x, bottom - y);
  }

  /** The feature at a place on the screen: lines before polygons, the smallest of those. */
  find(px, py) {
    const [x, y] = this.toPage(px, py), reach = HIT_PX * this.view.scale;
    let best = null, bestRank = Infinity;
    for (const group of this.groups) {
      for (let i = 0; i < group.count; i++) {
        if (!group.isNear(i, [x, y, x, y], group.kind === "line" ? reach : 0)) continue;
        if (!this.passes(group, i) || !group.isAt(i, x, y, reach)) continue;
        const [west, south, east, north] = group.boxes.subarray(4 * i, 4 * i + 4);
        const rank = group.kind === "line" ? -1 : (east - west) * (north - south);
        if (rank < bestRank) [best, bestRank] = [{ group, index: i }, rank];
      }
    }
    return best;
  }

  setHovered(feature, px = 0, py = 0) {
    const changed = feature?.group !== this.hovered?.group || feature?.index !== this.hovered?.index;
    this.hovered = feature;
    this.canvas.classList.toggle("over", Boolean(feature));
    this.onHover(feature, px, py);
    if (changed) this.compose();
  }

  listen() {
    const { canvas } = this, pointers = new Map();
    let moved = 0;
    const place = (event) => {
      const { left, top } = canvas.getBoundingClientRect();
      return [event.clientX - left, event.clientY - top];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      if (!pointers.size) moved = 0;
      pointers.set(event.pointerId, place(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      const now = place(event), before = pointers.get(event.pointerId);
      if (!before) return this.setHovered(this.find(...now), ...now);
      moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (moved < 4) return;
      canvas.classList.add("grabbed");
      this.setHovered(null);
      if (pointers.size === 2) {
        const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, p]) => p);
        const apart = (p) => Math.max(1, Math.hypot(p[0] - other[0], p[1] - other[1]));
        this.zoom(apart(before) / apart(now), ...other);
      } else this.move(before[0] - now[0], before[1] - now[1]);
      pointers.set(event.pointerId, now);
    });
    const release = (event) => {
      canvas.classList.remove("grabbed");
      if (pointers.delete(event.pointerId) && event.type === "pointerup" && moved < 4) this.onPick(this.find(...place(event)));
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", () => this.setHovered(null));
    canvas.addEventListener("dblclick", (event) => this.zoom(0.5, ...place(event)));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(2 ** (Math.max(-200, Math.min(200, event.deltaY * (event.deltaMode ? 30 : 1))) / 200), ...place(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const action = event.ctrlKey || event.metaKey || event.altKey ? null : this.keyAction(event.key);
      if (!action) return;
      event.preventDefault();
      action();
    });
  }

  keyAction(key) {
    const [width, height] = this.size;
    return {
      ArrowLeft: () => this.move(-PAN_PX, 0), ArrowRight: () => this.move(PAN_PX, 0),
      ArrowUp: () => this.move(0, -PAN_PX), ArrowDown: () => this.move(0, PAN_PX),
      "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2),
      0: () => this.fit(), Home: () => this.fit(),
      Enter: () => this.onPick(this.find(width / 2, height / 2)),
    }[key];
  }
}
