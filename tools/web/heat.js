// SPDX-License-Identifier: MIT
// heat.js - which addresses were written when, on a canvas
//
// Across is time, down are segments of memory, one below the other; what is
// between them in the address space is left out.  A segment is
//
//   { id, label, npages, [first: page number of its begin],
//     [from, to: seconds, when it was there] }
//
// and may be drawn higher than its size would have it, so that small ones can
// be seen.  A column is what was written in a piece of time:
//
//   { begin, end: seconds, intervals: how many are in it, runs }
//
// runs are numbers, four a run: the segment's id, the first page in it, the
// number of pages, and the sum of the pages that were written in each of the
// intervals.  Columns are appended in order of time as they come, and may be
// dropped at the other end; segments may come, grow and go.
//
// The colour is of the share of pages written in an interval, on the average
// over what a pixel covers, so that it does not change with the zoom.  Nothing
// written has a colour of its own, and the least that was written is seen.
//
//   const map = new HeatMap(canvas, {cellPages, name, changed});
//   map.setSegments(segments);
//   map.append(column);
//
// name(segment, page, seconds) is what to call a page, the segment's label
// if it is not given; changed() is called when the view is another one.
// The canvas has to be alone in a positioned element, into which the map puts
// its tip and its selection.
"use strict";

const HEAT_LEAST = 1e-3; // the share that has the first colour, and all below
// Lightness, chroma and hue (OKLCH) from little to all.  Lightness alone tells
// them apart, which every eye can see, and a printer prints.
const HEAT_LIGHT = [[0.87, 0.13, 95], [0.74, 0.165, 60], [0.57, 0.2, 25],
		    [0.38, 0.16, 340], [0.22, 0.1, 290]];
const HEAT_DARK = [[0.36, 0.13, 295], [0.5, 0.19, 335], [0.64, 0.19, 25],
		   [0.8, 0.15, 70], [0.95, 0.11, 103]];

function oklchToRgb([lightness, chroma, hue]) {
	const a = chroma * Math.cos(hue * Math.PI / 180);
	const b = chroma * Math.sin(hue * Math.PI / 180);
	const l = Math.pow(lightness + 0.3963377774 * a + 0.2158037573 * b, 3);
	const m = Math.pow(lightness - 0.1055613458 * a - 0.0638541728 * b, 3);
	const s = Math.pow(lightness - 0.0894841775 * a - 1.291485548 * b, 3);

	return [4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
		-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
		-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s]
		.map(c => c <= 0.0031308 ? 12.92 * c
			: 1.055 * Math.pow(c, 1 / 2.4) - 0.055)
		.map(c => Math.round(255 * Math.min(1, Math.max(0, c))));
}

// The colours from little to all, 256 of them, as [red, green, blue].
function heatRamp(dark) {
	const stops = dark ? HEAT_DARK : HEAT_LIGHT;
	const ramp = [];

	for (let i = 0; i < 256; i++) {
		const at = i / 255 * (stops.length - 1);
		const below = Math.min(stops.length - 2, Math.floor(at));
		const part = at - below;
		const [from, to] = [stops[below], stops[below + 1]];
		// The shorter way around the circle of hues.
		const turn = ((to[2] - from[2] + 540) % 360) - 180;

		ramp.push(oklchToRgb([from[0] + (to[0] - from[0]) * part,
				      from[1] + (to[1] - from[1]) * part,
				      from[2] + turn * part]));
	}
	return ramp;
}

// Where a share is in the ramp, 0 to 255; -1 if nothing was written.
function heatIndex(share) {
	if (!(share > 0))
		return -1;
	const at = 1 - Math.log(Math.min(1, share)) / Math.log(HEAT_LEAST);

	return Math.round(255 * Math.max(0, at));
}

class HeatMap {
	constructor(canvas, options) {
		this.canvas = canvas;
		this.box = canvas.parentElement;
		this.options = Object.assign({ cellPages: 1 }, options);
		this.columns = [];
		this.shown = []; // those that are not null, from the top
		this.slots = new Map(); // id -> index in places
		this.places = []; // where a segment is; null: it is not shown
		this.view = null; // what is seen: null is everything
		this.cursor = null; // of the keyboard
		this.scheme = matchMedia("(prefers-color-scheme: dark)");
		this.makeParts();
		this.listen();
		this.schedule();
	}

	// ---- what is shown ----

	setSegments(segments) {
		const all = segments.reduce((sum, one) => sum + one.npages, 0);
		const least = Math.min(0.02, 0.4 / (segments.length || 1));
		const gap = Math.min(0.008, 0.12 / (segments.length || 1));
		let top = 0;

		this.places.fill(null);
		for (const segment of segments) {
			const height = Math.max(segment.npages / all, least);

			this.places[this.slot(segment.id)] = {
				segment, top, height,
				scale: height / segment.npages,
			};
			top += height + gap;
		}
		// From top to bottom is 0 to 1.
		this.shown = this.places.filter(Boolean);
		this.shown.sort((a, b) => a.top - b.top);
		for (const place of this.shown) {
			place.top /= top - gap;
			place.height /= top - gap;
			place.scale /= top - gap;
		}
		this.leastPages = Math.ceil(least * all);
		this.schedule();
	}

	append(column) {
		const runs = new Float64Array(column.runs);

		for (let i = 0; i < runs.length; i += 4)
			runs[i] = this.slot(runs[i]);
		this.columns.push(Object.assign({}, column, { runs }));
		this.schedule();
	}

	dropBefore(seconds) {
		const keep = this.columns.findIndex(one => one.end > seconds);

		this.columns.splice(0, keep < 0 ? this.columns.length : keep);
		this.schedule();
	}

	slot(id) {
		if (!this.slots.has(id)) {
			this.slots.set(id, this.places.length);
			this.places.push(null);
		}
		return this.slots.get(id);
	}

	// ---- what is seen of it: seconds, and 0 to 1 from top to bottom ----

	whole() {
		const count = this.columns.length;

		return { t0: count ? this.columns[0].begin : 0,
			 t1: count ? this.columns[count - 1].end : 1,
			 a0: 0, a1: 1 };
	}

	seen() {
		return this.view || this.whole();
	}

	setView(view) {
		const whole = this.whole();
		const count = this.columns.length || 1;
		const times = (whole.t1 - whole.t0) / count;
		const next = {};

		[next.t0, next.t1] = HeatMap.fit(view.t0, view.t1, whole.t0,
						 whole.t1, 2 * times);
		[next.a0, next.a1] = HeatMap.fit(view.a0, view.a1, 0, 1,
						 this.leastHeight());
		this.view = next.t0 <= whole.t0 && next.t1 >= whole.t1 &&
			next.a0 <= 0 && next.a1 >= 1 ? null : next;
		this.schedule();
	}

	// [from, to) inside of [low, high), no shorter than least.
	static fit(from, to, low, high, least) {
		const length = Math.min(high - low, Math.max(least, to - from));
		const middle = (from + to) / 2;
		const start = Math.min(high - length,
				       Math.max(low, middle - length / 2));

		// Whole is whole, without a rounding error.
		return length >= high - low ? [low, high]
			: [start, start + length];
	}

	// Four cells, where they are the lowest.
	leastHeight() {
		let least = 1;

		for (const { scale } of this.shown || [])
			least = Math.min(least,
					 4 * scale * this.options.cellPages);
		return least;
	}

	// @factor below 1: nearer; @at: what stays where it is; @axes: "t", "a"
	// or both
	zoom(factor, at, axes = "ta") {
		const seen = this.seen();
		const next = Object.assign({}, seen);
		const t = at ? at.t : (seen.t0 + seen.t1) / 2;
		const a = at ? at.a : (seen.a0 + seen.a1) / 2;

		if (axes.includes("t")) {
			next.t0 = t - (t - seen.t0) * factor;
			next.t1 = t + (seen.t1 - t) * factor;
		}
		if (axes.includes("a")) {
			next.a0 = a - (a - seen.a0) * factor;
			next.a1 = a + (seen.a1 - a) * factor;
		}
		this.setView(next);
	}

	// By parts of what is seen.
	pan(right, down) {
		const { t0, t1, a0, a1 } = this.seen();
		const t = (t1 - t0) * right, a = (a1 - a0) * down;

		this.setView({ t0: t0 + t, t1: t1 + t, a0: a0 + a, a1: a1 + a });
	}

	reset() {
		this.view = null;
		this.schedule();
	}

	// Nothing but this segment.
	showSegment(id) {
		const place = this.places[this.slot(id)];

		if (place)
			this.setView(Object.assign({}, this.seen(), {
				a0: place.top, a1: place.top + place.height }));
	}

	// ---- what a place on the screen is about ----

	// The first column that ends after this.
	columnAfter(seconds) {
		let low = 0, high = this.columns.length;

		while (low < high) {
			const middle = (low + high) >> 1;

			if (this.columns[middle].end <= seconds)
				low = middle + 1;
			else
				high = middle;
		}
		return low;
	}

	// Has this column begun by then?
	isThere(index, seconds) {
		return index < this.columns.length &&
			this.columns[index].begin <= seconds;
	}

	placeAt(a) {
		return this.shown.find(
			place => a >= place.top && a < place.top + place.height);
	}

	// The cells that a box of times and heights touches, and what was
	// written in them; null where there is nothing.
	cellsAt(t0, t1, a0, a1) {
		const place = this.placeAt((a0 + a1) / 2);
		const first = this.columnAfter(t0);
		const { cellPages } = this.options;

		if (!place || !this.isThere(first, t1 + 1e-9) || t1 < 0)
			return null;
		const { segment } = place;
		const low = Math.max(0, (a0 - place.top) / place.scale);
		const high = Math.min(segment.npages,
				      (a1 - place.top) / place.scale);
		const from = Math.floor(low / cellPages) * cellPages;
		const to = Math.min(segment.npages, Math.max(from + cellPages,
			Math.ceil(high / cellPages) * cellPages));
		const found = { segment, from, to, pages: 0, intervals: 0,
				begin: this.columns[first].begin };

		for (let i = first; i < this.columns.length; i++) {
			const column = this.columns[i];

			if (i > first && column.begin >= t1)
				break;
			found.end = column.end;
			found.intervals += column.intervals;
			found.pages += HeatMap.written(
				column.runs, this.slot(segment.id), from, to);
		}
		return found;
	}

	static written(runs, slot, from, to) {
		let pages = 0;

		for (let i = 0; i < runs.length; i += 4) {
			const begin = runs[i + 1], length = runs[i + 2];
			const both = Math.min(to, begin + length) -
				Math.max(from, begin);

			if (runs[i] === slot && both > 0)
				pages += runs[i + 3] * both / length;
		}
		return pages;
	}

	// Lines of text about cells.
	describe(cells) {
		const { segment, from, to, begin, end, intervals } = cells;
		const first = (segment.first || 0) + from;
		const step = (end - begin) / 10;
		const each = cells.pages / intervals;
		const name = this.options.name;

		return [name ? name(segment, first, begin) : segment.label,
			formatAddress(first) + "–" +
				formatAddress(first + to - from) + ", " +
				formatPages(to - from),
			formatMoment(begin, step) + " to " +
				formatMoment(end, step),
			cells.pages === 0 ? "nothing written"
				: intervals === 1
					? formatPages(each) + " written"
					: formatPages(each) + " written in an " +
					  "interval, on the average of " +
					  intervals];
	}

	// ---- drawing ----

	schedule() {
		if (this.pending)
			return;
		this.pending = requestAnimationFrame(() => {
			this.pending = 0;
			this.draw();
		});
	}

	// Sizes in pixels of CSS; the plot has whole ones of the screen's.
	measure() {
		const ratio = devicePixelRatio || 1;
		const width = this.box.clientWidth;
		const height = this.box.clientHeight;
		const left = width < 560 ? 84 : 168;

		this.size = { ratio, width, height, left, top: 6,
			      right: width - 12, bottom: height - 26 };
		this.canvas.width = Math.round(width * ratio);
		this.canvas.height = Math.round(height * ratio);
		this.canvas.style.width = width + "px";
		this.canvas.style.height = height + "px";
	}

	colours() {
		const style = getComputedStyle(this.canvas);
		const word = ([red, green, blue]) =>
			(255 << 24 | blue << 16 | green << 8 | red) >>> 0;
		const none = style.getPropertyValue("--heat-none").trim();
		const parts = none.match(/[0-9a-f]{2}/gi)
			.map(text => parseInt(text, 16));

		return { ink: style.getPropertyValue("--ink-2").trim(),
			 line: style.getPropertyValue("--line").trim(),
			 none: word(parts),
			 ramp: heatRamp(this.scheme.matches).map(word) };
	}

	draw() {
		this.measure();
		const { ratio, left, right, top, bottom } = this.size;
		const context = this.canvas.getContext("2d");
		const width = Math.round((right - left) * ratio);
		const height = Math.round((bottom - top) * ratio);
		const colours = this.colours();

		if (width > 0 && height > 0 && this.shown.length &&
		    this.columns.length) {
			const image = context.createImageData(width, height);

			this.paint(new Uint32Array(image.data.buffer), width,
				   height, colours);
			context.putImageData(image, Math.round(left * ratio),
					     Math.round(top * ratio));
			context.setTransform(ratio, 0, 0, ratio, 0, 0);
			this.drawSegments(context, colours);
			this.drawTimes(context, colours);
		}
		this.drawCursor();
		if (this.options.changed)
			this.options.changed();
	}

	// Spreads an amount over the pixels that [y0, y1) touches.
	static spread(into, y0, y1, amount) {
		const count = into.length;

		if (y1 <= 0 || y0 >= count)
			return;
		if (y1 - y0 <= 1) {
			const y = Math.floor((y0 + y1) / 2);

			into[Math.min(count - 1, Math.max(0, y))] += amount;
			return;
		}
		const each = amount / (y1 - y0);
		const last = Math.min(count, Math.ceil(y1));

		for (let y = Math.max(0, Math.floor(y0)); y < last; y++) {
			const part = Math.min(y + 1, y1) - Math.max(y, y0);

			// What rounding leaves is no colour.
			if (part > 0.01)
				into[y] += each * part;
		}
	}

	paint(pixels, width, height, colours) {
		const { t0, t1, a0, a1 } = this.seen();
		const scale = height / (a1 - a0);
		const pages = new Float64Array(height);
		const strip = new Uint32Array(height);
		let painted = "";

		for (const { top, height: high, segment } of this.shown)
			HeatMap.spread(pages, (top - a0) * scale,
				       (top + high - a0) * scale,
				       segment.npages);
		for (let x = 0; x < width; x++) {
			const begin = t0 + (t1 - t0) * x / width;
			const end = t0 + (t1 - t0) * (x + 1) / width;
			const first = this.columnAfter(begin);
			let last = first + 1;

			while (last < this.columns.length &&
			       this.columns[last].begin < end - 1e-9)
				last++;
			// A pixel between two columns is of the one that has
			// its middle, if columns are wider than pixels.
			const at = (begin + end) / 2;
			const middle = this.columnAfter(at);
			const wide = last - first <= 2;
			const from = wide ? middle : first;
			// Between columns, and before the first, nothing is
			// known.
			const to = !this.isThere(from, wide ? at : end) ? from
				: wide ? middle + 1 : last;

			if (painted !== from + "-" + to)
				this.paintStrip(strip, pages, from, to, colours);
			painted = from + "-" + to;
			for (let y = 0; y < height; y++)
				pixels[y * width + x] = strip[y];
		}
	}

	paintStrip(strip, pages, from, to, colours) {
		const { a0, a1 } = this.seen();
		const scale = strip.length / (a1 - a0);
		const written = new Float64Array(strip.length);
		let intervals = 0;

		to = Math.min(to, this.columns.length);
		for (let i = from; i < to; i++) {
			const { runs } = this.columns[i];

			intervals += this.columns[i].intervals;
			for (let at = 0; at < runs.length; at += 4) {
				const place = this.places[runs[at]];

				if (!place)
					continue;
				const y0 = (place.top + runs[at + 1] *
					    place.scale - a0) * scale;

				HeatMap.spread(written, y0, y0 + runs[at + 2] *
					       place.scale * scale,
					       runs[at + 3]);
			}
		}
		for (let y = 0; y < strip.length; y++) {
			const share = written[y] / (pages[y] * intervals);

			strip[y] = pages[y] === 0 || from >= to ? 0
				: written[y] > 0
					? colours.ramp[heatIndex(share)]
					: colours.none;
		}
		if (from < to)
			this.blankAbsent(strip, this.columns[from].begin,
					 this.columns[to - 1].end, a0, scale);
	}

	// A segment that was not there has no colour.
	blankAbsent(strip, begin, end, a0, scale) {
		for (const { segment, top, height } of this.shown) {
			const there = (segment.from || 0) < end &&
				(segment.to === undefined ||
				 segment.to > begin);

			if (!there)
				strip.fill(0, Math.max(0, Math.round(
					(top - a0) * scale)),
					Math.max(0, Math.round(
						(top + height - a0) * scale)));
		}
	}

	x(t) {
		const { t0, t1 } = this.seen();
		const { left, right } = this.size;

		return left + (t - t0) / (t1 - t0) * (right - left);
	}

	y(a) {
		const { a0, a1 } = this.seen();
		const { top, bottom } = this.size;

		return top + (a - a0) / (a1 - a0) * (bottom - top);
	}

	// Names where there is room, the highest segments first.
	drawSegments(context, { ink, line }) {
		const { left, top, bottom } = this.size;
		const taken = [];
		const visible = [];

		context.strokeStyle = line;
		context.fillStyle = ink;
		context.lineWidth = 1;
		context.font = "12px system-ui, sans-serif";
		context.textBaseline = "middle";
		context.textAlign = "right";
		for (const place of this.shown) {
			const y0 = Math.max(top, this.y(place.top));
			const y1 = Math.min(bottom,
					    this.y(place.top + place.height));

			if (y1 > y0)
				visible.push({ place, y0, y1 });
		}
		visible.sort((a, b) => (b.y1 - b.y0) - (a.y1 - a.y0));
		for (const { place, y0, y1 } of visible) {
			const y = Math.min(bottom - 7, Math.max(
				top + 7, (y0 + y1) / 2));

			context.beginPath();
			context.moveTo(left - 3.5, y0);
			context.lineTo(left - 3.5, Math.max(y0 + 1, y1));
			context.stroke();
			if (taken.some(other => Math.abs(other - y) < 14))
				continue;
			taken.push(y);
			context.fillText(HeatMap.shorten(
				context, place.segment.label, left - 14),
				left - 8, y);
			if (y1 - y0 > 64 && place.segment.first !== undefined)
				this.drawAddresses(context, place, y0, y1,
						   taken);
		}
	}

	// Where what is seen of a segment begins and ends.
	drawAddresses(context, { segment, top, scale }, y0, y1, taken) {
		const { left, top: from, bottom } = this.size;
		const { a0, a1 } = this.seen();
		const page = y => Math.round(Math.max(0, Math.min(
			segment.npages, ((y - from) / (bottom - from) *
			(a1 - a0) + a0 - top) / scale)));

		if (left < 120)
			return;
		context.save();
		context.globalAlpha = 0.75;
		context.font = "11px ui-monospace, DejaVu Sans Mono, monospace";
		for (const [edge, y] of [[y0, y0 + 7], [y1, y1 - 7]]) {
			context.fillText(formatAddress(
				segment.first + page(edge)), left - 8, y);
			taken.push(y);
		}
		context.restore();
	}

	static shorten(context, text, width) {
		if (context.measureText(text).width <= width)
			return text;
		let keep = text.length;

		while (keep > 1 && context.measureText(
			"…" + text.slice(-keep)).width > width)
			keep--;
		return "…" + text.slice(-keep);
	}

	drawTimes(context, { ink, line }) {
		const { left, right, bottom } = this.size;
		const { t0, t1 } = this.seen();
		const step = niceTimeStep(t1 - t0, (right - left) / 90);

		context.fillStyle = ink;
		context.strokeStyle = line;
		context.textAlign = "center";
		context.textBaseline = "top";
		for (let t = Math.max(0, Math.ceil(t0 / step)) * step; t <= t1;
		     t += step) {
			const x = this.x(t);

			context.beginPath();
			context.moveTo(x, bottom);
			context.lineTo(x, bottom + 5);
			context.stroke();
			if (x > left + 12 && x < right - 12)
				context.fillText(formatMoment(t, step), x,
						 bottom + 8);
		}
	}

	// ---- people ----

	makeParts() {
		this.select = element("div", "", "heat-select");
		this.cross = element("div", "", "heat-cross");
		this.tip = element("div", "", "heat-tip");
		this.tip.setAttribute("role", "status");
		for (const part of [this.select, this.cross, this.tip]) {
			part.hidden = true;
			this.box.append(part);
		}
		this.canvas.tabIndex = 0;
	}

	listen() {
		const on = (name, act, options) =>
			this.canvas.addEventListener(name, act.bind(this),
						     options);

		on("wheel", this.wheel, { passive: false });
		on("pointerdown", this.press);
		on("pointermove", this.move);
		on("pointerup", this.release);
		on("pointercancel", this.forget);
		on("pointerleave", () => { this.tip.hidden = true; });
		on("dblclick", this.reset);
		on("keydown", this.key);
		on("blur", () => {
			this.cursor = null;
			this.tip.hidden = true;
			this.drawCursor();
		});
		this.scheme.addEventListener("change", () => this.schedule());
		new ResizeObserver(() => this.schedule()).observe(this.box);
	}

	// Where a pointer is: pixels, and time and height.
	where(event) {
		const box = this.canvas.getBoundingClientRect();
		const x = event.clientX - box.left, y = event.clientY - box.top;
		const { left, right, top, bottom } = this.size;
		const { t0, t1, a0, a1 } = this.seen();

		return { x, y,
			 t: t0 + (x - left) / (right - left) * (t1 - t0),
			 a: a0 + (y - top) / (bottom - top) * (a1 - a0),
			 inside: x >= left && x < right && y >= top &&
				 y < bottom };
	}

	// On an axis, or with Shift or Alt, one direction only.
	wheel(event) {
		const at = this.where(event);
		const { left, bottom } = this.size;
		const amount = event.deltaY || event.deltaX;
		const lines = event.deltaMode === 1 ? 33 : 1;
		const factor = Math.exp(Math.max(-1, Math.min(1,
			amount * lines / 400)));
		const before = this.view;

		if (event.ctrlKey || (factor > 1 && !before))
			return; // the browser's, and what is whole scrolls away
		event.preventDefault();
		this.zoom(factor, at, event.shiftKey || at.y > bottom ? "t"
			: event.altKey || at.x < left ? "a" : "ta");
		this.tip.hidden = true;
	}

	press(event) {
		if (event.button !== 0)
			return;
		this.drag = { from: this.where(event), view: this.seen(),
			      moves: event.shiftKey };
		this.canvas.setPointerCapture(event.pointerId);
		this.tip.hidden = true;
	}

	move(event) {
		const at = this.where(event);

		if (!this.drag) {
			this.point(at);
		} else if (this.drag.moves) {
			const { from, view } = this.drag;
			const { left, right, top, bottom } = this.size;
			const t = (from.x - at.x) / (right - left) *
				(view.t1 - view.t0);
			const a = (from.y - at.y) / (bottom - top) *
				(view.a1 - view.a0);

			this.setView({ t0: view.t0 + t, t1: view.t1 + t,
				       a0: view.a0 + a, a1: view.a1 + a });
		} else {
			this.showSelection(at);
		}
	}

	// A side that is shorter than a few pixels stands for all of it.
	selection(at) {
		const { left, right, top, bottom } = this.size;
		const { from } = this.drag;
		const side = (a, b, low, high) => Math.abs(a - b) < 6
			? [low, high]
			: [Math.max(low, Math.min(a, b)),
			   Math.min(high, Math.max(a, b))];
		const [x0, x1] = side(from.x, at.x, left, right);
		const [y0, y1] = side(from.y, at.y, top, bottom);

		return { x0, x1, y0, y1, none: Math.abs(from.x - at.x) < 6 &&
			 Math.abs(from.y - at.y) < 6 };
	}

	showSelection(at) {
		const { x0, x1, y0, y1, none } = this.selection(at);

		this.select.hidden = none;
		this.put(this.select, x0, y0, x1 - x0, y1 - y0);
	}

	put(part, x, y, width, height) {
		part.style.left = x + "px";
		part.style.top = y + "px";
		part.style.width = width + "px";
		part.style.height = height + "px";
	}

	release(event) {
		if (!this.drag)
			return;
		const at = this.where(event);
		const { x0, x1, y0, y1, none } = this.selection(at);
		const { left, right, top, bottom } = this.size;
		const { t0, t1, a0, a1 } = this.seen();
		const t = x => t0 + (x - left) / (right - left) * (t1 - t0);
		const a = y => a0 + (y - top) / (bottom - top) * (a1 - a0);

		if (!this.drag.moves && !none)
			this.setView({ t0: t(x0), t1: t(x1), a0: a(y0),
				       a1: a(y1) });
		this.forget();
	}

	forget() {
		this.drag = null;
		this.select.hidden = true;
	}

	point(at) {
		const { left, right, top, bottom } = this.size;
		const { t0, t1, a0, a1 } = this.seen();
		const t = (t1 - t0) / (right - left) / 2;
		const a = (a1 - a0) / (bottom - top) / 2;

		this.say(at.inside && this.columns.length ? this.cellsAt(
			at.t - t, at.t + t, at.a - a, at.a + a) : null, at);
	}

	say(cells, { x, y }) {
		const { width, height } = this.size;

		this.tip.hidden = !cells;
		if (!cells)
			return;
		this.tip.replaceChildren(...this.describe(cells).map(
			text => element("div", text)));
		this.tip.style.maxWidth = Math.min(420, width - 16) + "px";
		const { offsetWidth, offsetHeight } = this.tip;
		const right = x + 16 + offsetWidth < width;

		this.tip.style.left = Math.max(4, right ? x + 16
			: x - 12 - offsetWidth) + "px";
		this.tip.style.top = Math.max(0, Math.min(
			y + 16, height - offsetHeight - 4)) + "px";
	}

	// Arrows go from cell to cell, and with Shift move what is seen.
	key(event) {
		const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0],
			      ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];

		if (event.ctrlKey || event.metaKey || event.altKey)
			return;
		if (way && event.shiftKey)
			this.pan(way[0] / 4, way[1] / 4);
		else if (way)
			this.step(way[0], way[1]);
		else if (event.key === "PageUp" || event.key === "PageDown")
			this.pan(0, event.key === "PageUp" ? -0.9 : 0.9);
		else if (event.key === "+" || event.key === "=")
			this.zoom(0.5, this.cursor);
		else if (event.key === "-" || event.key === "_")
			this.zoom(2, this.cursor);
		else if (event.key === "0" || event.key === "Home")
			this.reset();
		else if (event.key === "Escape")
			this.cursor = null;
		else
			return;
		event.preventDefault();
		this.forget();
		this.drawCursor();
	}

	// How far an arrow goes from a height: a cell, or if these are too small
	// to be seen, a hundredth of what is seen; and how large a cell is.
	stepAt(at) {
		const seen = this.seen(), whole = this.whole();
		const place = this.placeAt(at);
		const cell = { t: (whole.t1 - whole.t0) /
				  (this.columns.length || 1),
			       a: place ? place.scale * this.options.cellPages
				  : 0 };

		return { t: Math.max(cell.t, (seen.t1 - seen.t0) / 100),
			 a: Math.max(cell.a, (seen.a1 - seen.a0) / 100), cell };
	}

	step(right, down) {
		const seen = this.seen(), whole = this.whole();
		const from = this.cursor || {
			t: (seen.t0 + seen.t1) / 2, a: (seen.a0 + seen.a1) / 2 };
		const { t, a } = this.stepAt(from.a);

		this.cursor = {
			t: Math.min(whole.t1 - t / 4, Math.max(
				whole.t0 + t / 4, from.t + right * t)),
			a: Math.min(1 - a / 4, Math.max(a / 4,
							from.a + down * a)),
		};
		// It stays in sight.
		if (this.cursor.t < seen.t0 || this.cursor.t > seen.t1)
			this.pan(right / 2, 0);
		if (this.cursor.a < seen.a0 || this.cursor.a > seen.a1)
			this.pan(0, down / 2);
	}

	drawCursor() {
		this.cross.hidden = !this.cursor;
		if (!this.cursor || !this.columns.length || !this.size)
			return;
		const { t, a } = this.cursor;
		const at = { x: this.x(t), y: this.y(a) };

		this.put(this.cross, at.x - 6, at.y - 6, 12, 12);
		// What lies between it and its neighbours.
		const step = this.stepAt(a);
		const wide = (step.t - step.cell.t) / 2;
		const high = (step.a - step.cell.a) / 2;

		this.say(this.cellsAt(t - wide, t + wide, a - high, a + high),
			 at);
	}
}
