// SPDX-License-Identifier: MIT
// chart.js - lines and bands over an axis, in SVG
//
//   const chart = new LineChart(box, {label, x, y, log, series});
//   chart.update({log: false});
//
// x and y: { title, format(value, exactly, step between ticks), time: its steps
// are those of a clock, bytes: those of bytes }.  series: [{ name, kind: "line",
// "other" or "band", points: [[x, y], or for a band [x, low, high]], loose: it
// may leave the chart at the top }].  A logarithmic axis leaves out what is not
// positive.
"use strict";

// What a logarithmic axis of time says, in seconds.
const LOG_CLOCK = [1e-3, 1e-2, 0.1, 1, 10, 60, 600, 3600, 36000, 360000];
const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes, text) {
	const made = document.createElementNS(SVG, tag);

	for (const [name, value] of Object.entries(attributes))
		made.setAttribute(name, value);
	if (text !== undefined)
		made.textContent = text;
	return made;
}

// An axis from values to 0..1, and where its ticks are.
class Axis {
	constructor(low, high, log, kind) {
		this.log = log && low > 0;
		this.low = low;
		this.high = high > low ? high : low + (low || 1);
		this.kind = kind;
	}

	at(value) {
		if (!this.log)
			return (value - this.low) / (this.high - this.low);
		return Math.log(value / this.low) /
			Math.log(this.high / this.low);
	}

	value(at) {
		if (!this.log)
			return this.low + at * (this.high - this.low);
		return this.low * Math.pow(this.high / this.low, at);
	}

	ticks(count) {
		return this.log ? this.logTicks(count) : this.linearTicks(count);
	}

	linearTicks(count) {
		const span = this.high - this.low;
		let step = this.kind.time ? niceTimeStep(span, count)
			: niceStep(span, count);

		if (this.kind.bytes)
			step = Math.pow(2, Math.ceil(Math.log2(span / count)));
		const found = [];

		for (let i = Math.ceil(this.low / step - 1e-9);
		     i * step <= this.high * (1 + 1e-9); i++)
			found.push(i * step + 0); // never minus zero
		return found;
	}

	// Powers, and in a small range what is between them.
	logTicks(count) {
		if (this.kind.time && this.high > 100)
			return LOG_CLOCK.filter(value => value >= this.low *
				(1 - 1e-9) && value <= this.high);
		const base = this.kind.bytes ? 2 : 10;
		const between = this.kind.bytes ? [1] : [1, 2, 5];
		const log = value => Math.log(value) / Math.log(base);
		const found = [];

		for (let power = Math.floor(log(this.low) - 1e-9);
		     power <= log(this.high) + 1e-9; power++)
			for (const n of between)
				found.push(n * Math.pow(base, power));
		let ticks = found.filter(value =>
			value >= this.low * (1 - 1e-9) &&
			value <= this.high * (1 + 1e-9));
		const powers = ticks.filter(value =>
			Math.abs(log(value) - Math.round(log(value))) < 1e-6);

		if (ticks.length > count && powers.length > 1)
			ticks = powers;
		const every = Math.ceil(ticks.length / count);

		return ticks.filter((_, i) => i % every === 0);
	}
}

class LineChart {
	constructor(box, options) {
		this.box = box;
		this.options = options;
		this.tip = element("div", "", "chart-tip");
		this.tip.hidden = true;
		this.keys = element("div", "", "keys");
		this.svg = svg("svg", { role: "img",
					"aria-label": options.label });
		box.append(this.svg, this.keys, this.tip);
		this.svg.addEventListener("pointermove", e => this.point(e));
		this.svg.addEventListener("pointerleave", () => {
			this.tip.hidden = true;
			this.mark.replaceChildren();
		});
		new ResizeObserver(() => this.draw()).observe(box);
		this.drawKeys();
	}

	update(changes) {
		Object.assign(this.options, changes);
		this.drawKeys();
		this.draw();
	}

	drawKeys() {
		this.keys.replaceChildren(...this.options.series.map(one => {
			const key = element("span", undefined, one.kind);

			key.append(element("i"), one.name);
			return key;
		}));
	}

	axes() {
		const { series, log, x, y } = this.options;
		const xs = [], ys = [];

		for (const { points, loose } of series) {
			for (const [at, ...values] of points) {
				xs.push(at);
				ys.push(...(loose ? [] : values));
			}
		}
		const good = values => log ? values.filter(v => v > 0) : values;
		const low = values => good(values).reduce(
			(a, b) => Math.min(a, b), Infinity);
		const high = values => good(values).reduce(
			(a, b) => Math.max(a, b), -Infinity);
		const none = !good(ys).length;

		return [new Axis(low(xs), high(xs), log, x),
			new Axis(log && !none ? low(ys) : 0,
				 none ? 1 : high(ys) * (log ? 2 : 1.25), log, y)];
	}

	draw() {
		const width = this.box.clientWidth;
		const height = this.svg.clientHeight || 300;

		if (!width)
			return;
		this.frame = { left: 76, right: width - 14, top: 10,
			       bottom: height - 42 };
		[this.horizontal, this.vertical] = this.axes();
		this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
		this.mark = svg("g", {});
		const shapes = svg("svg", { x: 0, y: 0, width,
					    height: this.frame.bottom + 2,
					    overflow: "hidden" });

		shapes.append(...this.options.series.map(
			one => this.shape(one)));
		this.svg.replaceChildren(this.grid(), shapes, this.mark);
	}

	x(value) {
		const { left, right } = this.frame;

		return left + this.horizontal.at(value) * (right - left);
	}

	y(value) {
		const { top, bottom } = this.frame;
		const at = this.vertical.log && value <= 0 ? 0
			: this.vertical.at(value);

		return bottom - Math.max(-0.02, at) * (bottom - top);
	}

	grid() {
		const { left, right, top, bottom } = this.frame;
		const { x, y } = this.options;
		const group = svg("g", {});

		for (const value of this.vertical.ticks(6)) {
			group.append(
				svg("path", { class: "grid", d:
					`M${left} ${this.y(value)}H${right}` }),
				svg("text", { x: left - 8, y: this.y(value) + 4,
					      "text-anchor": "end" },
				    y.format(value)));
		}
		const ticks = this.horizontal.ticks(
			Math.max(2, (right - left) / 80));

		for (const value of ticks) {
			const at = this.x(value);

			group.append(
				svg("path", { class: "grid", d:
					`M${at} ${bottom}v5` }),
				svg("text", { x: at, y: bottom + 18,
					      "text-anchor": "middle" },
				    x.format(value, false,
					     ticks[1] - ticks[0])));
		}
		group.append(svg("text", { x: (left + right) / 2, y: bottom + 36,
					   "text-anchor": "middle" }, x.title));
		return group;
	}

	shape({ kind, points }) {
		const good = points.filter(([x]) => !this.horizontal.log ||
			x > 0);
		const path = at => at.map(([x, y]) =>
			`${this.x(x).toFixed(2)} ${this.y(y).toFixed(2)}`);

		if (kind !== "band")
			return svg("path", { class: "line " + kind,
					     // One point is a dot.
					     d: good.length ? "M" + path(
						     good).join("L") + "h0"
					     : "" });
		const low = path(good.map(([x, y]) => [x, y]));
		const high = path(good.map(([x, , y]) => [x, y])).reverse();

		return svg("path", { class: "band", d: good.length
			? "M" + [...low, ...high].join("L") + "Z" : "" });
	}

	// What the series say nearest to the pointer.
	point(event) {
		const box = this.svg.getBoundingClientRect();
		const { left, right, top, bottom } = this.frame;
		const at = Math.min(1, Math.max(0, (event.clientX - box.left -
			left) / (right - left)));
		const value = this.horizontal.value(at);
		const { series, x, y } = this.options;
		const away = x => Math.abs(this.horizontal.at(x) - at);
		const lines = [];

		this.mark.replaceChildren();
		for (const { name, kind, points } of series) {
			const near = points.reduce((best, one) =>
				away(one[0]) < away(best[0]) ? one : best,
			points[0]);

			if (!near)
				continue;
			if (!lines.length)
				lines.push(x.format(near[0], true));
			lines.push(name + ": " + near.slice(1).map(
				one => y.format(one, true)).join(" to "));
			if (kind === "line")
				this.mark.append(
					svg("path", { class: "grid", d:
						`M${this.x(near[0])} ${top}` +
						`V${bottom}` }),
					svg("circle", { class: "mark", r: 5,
							cx: this.x(near[0]),
							cy: this.y(near[1]) }));
		}
		this.tip.hidden = false;
		this.tip.replaceChildren(...lines.map(
			text => element("div", text)));
		const wide = this.tip.offsetWidth;
		const here = this.x(value);

		this.tip.style.top = top + "px";
		this.tip.style.left = Math.max(0, here + 14 + wide < right
			? here + 14 : here - 14 - wide) + "px";
	}
}
