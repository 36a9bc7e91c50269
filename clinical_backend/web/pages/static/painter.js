"use strict";

// What a map looks like: which colour each of its points has, where it stands on the canvas, and how it is drawn there.
class Painter {
  static COLOURS = 8;
  static MOST_ZOOM = 400;
  static EDGE = 16; // pixels around what is shown, so that a point at the edge needs no care

  constructor(canvas) {
    this.canvas = canvas;
    this.paper = canvas.getContext("2d", { alpha: false });
    this.points = null;
    this.column = null;
    this.order = new Uint32Array(); // as points are drawn: what says nothing first, what is rare last
    this.hidden = new Set(); // codes
    this.selected = new Uint8Array();
    this.lasso = null; // pixels of the page
    this.view = { scale: 1, x: 0, y: 0 }; // pixels a unit, and where the middle of the map stands on the canvas
    this.frame = 0;
    this.image = null;
  }

  take(buffer) {
    const length = new DataView(buffer).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    let at = 4 + length;
    const array = (kind, count) => {
      const found = new kind(buffer, at, count);
      at += found.byteLength;
      return found;
    };
    const n = head.count;
    const found = { count: n, tasks: array(Float64Array, n), places: array(Float32Array, 2 * n), scores: array(Uint8Array, n), near: array(Uint8Array, n) };
    found.columns = head.columns.map((one) => ({ ...one, codes: array(Uint8Array, n) }));
    found.bounds = Painter.bounds(found.places);
    this.points = found;
    this.selected = new Uint8Array(n);
  }

  static bounds(places) {
    const found = { left: 0, right: 0, top: 0, bottom: 0 };
    for (let at = 0; at < places.length; at += 2) {
      const [x, y] = [places[at], places[at + 1]];
      if (!at || x < found.left) found.left = x;
      if (!at || x > found.right) found.right = x;
      if (!at || y < found.top) found.top = y;
      if (!at || y > found.bottom) found.bottom = y;
    }
    return found;
  }

  colourBy(name) {
    const column = this.column = this.points.columns.find((one) => one.name === name);
    const counts = column.counts = new Uint32Array(256);
    this.hidden = new Set();
    for (const code of column.codes) counts[code] += 1;
    const rank = column.names.map((_, code) => code)
      .sort((a, b) => (a === 0 ? -1 : b === 0 ? 1 : column.steps ? a - b : counts[b] - counts[a]));
    const start = new Uint32Array(256);
    let before = 0;
    for (const code of rank) {
      start[code] = before;
      before += counts[code];
    }
    this.order = new Uint32Array(this.points.count);
    column.codes.forEach((code, row) => { this.order[start[code]++] = row; });
    column.kinds = Painter.kinds(column);
    this.tint();
  }

  // Which of the palette's colours each code has: what is looked for, then the commonest; one for all others.
  static kinds({ names, steps, pinned, counts }) {
    const codes = names.map((_, code) => code);
    if (steps) return codes.map((code) => (code ? `step-${code}` : "none"));
    const coloured = codes.filter((code) => code && counts[code])
      .sort((a, b) => (b <= pinned) - (a <= pinned) || counts[b] - counts[a])
      .slice(0, Painter.COLOURS).sort((a, b) => a - b);
    return codes.map((code) => (code === 0 ? "none" : coloured.includes(code) ? `kind-${coloured.indexOf(code) + 1}` : "other"));
  }

  tint() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => {
      const hex = style.getPropertyValue(`--${name}`).trim().slice(1);
      const value = Number.parseInt(hex.length === 3 ? [...hex].map((one) => one + one).join("") : hex, 16);
      return ((255 << 24) | ((value & 255) << 16) | (value & 0xff00) | (value >> 16)) >>> 0; // as memory has it
    };
    this.colours = this.column.kinds.map(colour);
    this.ground = colour("card");
    this.ink = colour("ink");
    this.accent = style.getPropertyValue("--accent");
    this.redraw();
  }

  redraw() {
    this.frame ||= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = 0;
    const { canvas, points, column, order, hidden, selected, view, colours, ink } = this;
    if (!column || !canvas.width || !canvas.clientWidth) return;
    const { width, height } = canvas;
    const { EDGE } = Painter;
    const ratio = width / canvas.clientWidth;
    const across = width + 2 * EDGE;
    if (this.image?.width !== across || this.image.height !== height + 2 * EDGE) {
      this.image = this.paper.createImageData(across, height + 2 * EDGE);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    const { pixels } = this;
    pixels.fill(this.ground);
    const size = this.radius(ratio);
    const [small, large, ring] = [size, size + 1.2 * ratio, size + 2.4 * ratio].map((one) => Painter.disc(Math.min(EDGE - 1, one), across));
    const rare = points.count / 40; // what is rarer than that is drawn larger
    const scale = view.scale * ratio;
    const left = view.x * ratio + EDGE;
    const top = view.y * ratio + EDGE;
    const { places } = points;
    const { codes, counts } = column;
    const right = width + EDGE;
    const bottom = height + EDGE;
    for (let at = 0; at < order.length; at += 1) {
      const row = order[at];
      const code = codes[row];
      if (hidden.size && hidden.has(code)) continue;
      const x = (left + places[2 * row] * scale) | 0;
      const y = (top + places[2 * row + 1] * scale) | 0;
      if (x < EDGE || y < EDGE || x >= right || y >= bottom) continue;
      const middle = y * across + x;
      if (selected[row]) Painter.stamp(pixels, ring, middle, ink);
      Painter.stamp(pixels, code && counts[code] < rare ? large : small, middle, colours[code]);
    }
    this.paper.putImageData(this.image, -EDGE, -EDGE);
    if (this.lasso) this.outline(ratio);
  }

  // Larger where there are few, and where somebody looks closely.
  radius(ratio) {
    const { canvas, points, view } = this;
    const share = Math.sqrt((canvas.clientWidth * canvas.clientHeight) / Math.max(1, points.count)) / 5;
    return ratio * Math.max(1, Math.min(5, share * (view.scale / this.whole().scale) ** 0.35));
  }

  // The rows of pixels of a disc, each as where it begins and ends beside the middle.
  static disc(size, across) {
    const rows = [];
    const reach = Math.floor(size);
    for (let y = -reach; y <= reach; y += 1) {
      const half = Math.floor(Math.sqrt((reach + 0.4) ** 2 - y * y)); // 0.4: corners stay out at each size
      rows.push(y * across - half, y * across + half + 1);
    }
    return rows;
  }

  static stamp(pixels, rows, middle, colour) {
    for (let at = 0; at < rows.length; at += 2) {
      for (let pixel = middle + rows[at], end = middle + rows[at + 1]; pixel < end; pixel += 1) pixels[pixel] = colour;
    }
  }

  outline(ratio) {
    const { paper } = this;
    paper.beginPath();
    this.lasso.forEach(([x, y], at) => (at ? paper.lineTo(x * ratio, y * ratio) : paper.moveTo(x * ratio, y * ratio)));
    paper.closePath();
    paper.lineWidth = 2 * ratio;
    paper.strokeStyle = this.accent;
    paper.stroke();
  }

  whole() {
    const { left, right, top, bottom } = this.points.bounds;
    const { clientWidth: across, clientHeight: down } = this.canvas;
    const scale = 0.92 * Math.min(across / (right - left || 2), down / (bottom - top || 2));
    return { scale, x: across / 2 - ((left + right) / 2) * scale, y: down / 2 - ((top + bottom) / 2) * scale };
  }

  fit() {
    this.view = this.whole();
    this.redraw();
  }

  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const { view } = this;
    const least = this.whole().scale;
    const scale = Math.max(least / 2, Math.min(least * Painter.MOST_ZOOM, view.scale * factor));
    const ratio = scale / view.scale;
    this.view = { scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio };
    this.redraw();
  }

  pan(x, y) {
    this.view = { ...this.view, x: this.view.x + x, y: this.view.y + y };
    this.redraw();
  }

  // The canvas has as many pixels as the screen shows it with, at most four for one of the page: more nobody sees.
  resize() {
    const ratio = Math.min(2, devicePixelRatio || 1);
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    if (this.points) this.fit();
  }

  placeOf(row) {
    const { places } = this.points;
    return [this.view.x + places[2 * row] * this.view.scale, this.view.y + places[2 * row + 1] * this.view.scale];
  }

  isShown(row) {
    return !this.hidden.has(this.column.codes[row]);
  }

  // The point that is nearest to a place, -1 where none is near.
  pointAt(x, y, most) {
    let best = -1;
    let least = most * most;
    for (let row = 0; row < this.points.count; row += 1) {
      const [ax, ay] = this.placeOf(row);
      const far = (ax - x) ** 2 + (ay - y) ** 2;
      if (far < least && this.isShown(row)) [best, least] = [row, far];
    }
    return best;
  }

  within(path) {
    const rows = [];
    for (let row = 0; row < this.points.count; row += 1) {
      if (this.isShown(row) && Painter.isWithin(...this.placeOf(row), path)) rows.push(row);
    }
    return rows;
  }

  static isWithin(x, y, path) {
    let within = false;
    for (let at = 0, last = path.length - 1; at < path.length; last = at++) {
      const [ax, ay] = path[at];
      const [bx, by] = path[last];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
    }
    return within;
  }
}
