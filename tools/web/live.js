// SPDX-License-Identifier: MIT
// live.js - the page of tidemark watch --prometheus: a process as it is watched
//
// It asks /data for what is newer than what it has, and is answered when an
// interval is over.  What the answer has in it a hostile process may have
// chosen; so it makes elements, and no HTML.
"use strict";

const NS = 1e9;
const COLUMNS_MAX = 600; // as many as the server keeps
const SPANS = [60, 120, 300, COLUMNS_MAX]; // intervals that the map has room for
const RETRY_MS = 1000;
const ASK_MS = 100; // no two questions are nearer
const DRAW_MS = 200;
const HOT_COLUMNS = 60;
const HOT_BLOCKS = 256; // of a segment
const HOT_ROWS = 12;

// Now is at the right edge, and there is room for what is to come.
class LiveMap extends HeatMap {
	whole() {
		const count = this.columns.length;

		if (!count)
			return super.whole();
		const t1 = this.columns[count - 1].end;
		const each = (t1 - this.columns[0].begin) / count;
		const span = SPANS.find(one => one >= count) || count;

		return { t0: t1 - span * each, t1, a0: 0, a1: 1 };
	}

	// What is seen goes with the time if it has its end.
	append(column) {
		const before = this.whole().t1;

		super.append(column);
		if (!this.view || this.view.t1 < before - 1e-9)
			return;
		const moved = this.whole().t1 - before;

		this.view = Object.assign({}, this.view, {
			t0: this.view.t0 + moved, t1: this.view.t1 + moved });
	}

	clear() {
		this.columns = [];
		this.view = null;
		this.setSegments([]);
	}
}

class LivePage {
	constructor() {
		this.map = new LiveMap(byId("map"), {
			name: segment => segment.name,
			changed: () => showSeen(this.map),
		});
		listenZoom(this.map);
		const time = { title: "time since watching began", time: true,
			       format: (t, exactly) => formatMoment(
				       t, exactly ? 0.01 : 1) };

		this.rate = new LineChart(byId("rate"), {
			label: "Dirty rate over time", log: false, x: time,
			y: bytesAxis(true), series: [] });
		this.set = new LineChart(byId("set"), {
			label: "Working set over time", log: false, x: time,
			y: bytesAxis(false), series: [] });
		this.forget(null);
		this.setState("", "asking");
	}

	// Another server has another process, or another beginning.
	forget(instance) {
		this.instance = instance;
		this.over = null;
		this.newest = 0;
		this.columns = [];
		this.segments = new Map();
		this.latest = null;
		this.map.clear();
	}

	setState(kind, text) {
		const state = byId("state");

		if (state.textContent === text)
			return; // it is not read aloud again
		state.className = "state " + kind;
		state.textContent = text;
	}

	// ---- what comes ----

	take(answer) {
		if (answer.instance !== this.instance) {
			const again = this.instance !== null;

			this.forget(answer.instance);
			// It was asked for what another one had.
			if (again)
				return false;
		}
		if (!this.latest)
			showLegend(this.map, "Pages that were written in an " +
				   "interval of " + formatSpan(
					   answer.interval_ns / NS) +
				   ", of those at that place");
		this.latest = answer;
		this.over = answer.over;
		if (answer.segments)
			this.takeSegments(answer.segments);
		for (const column of answer.columns)
			this.takeColumn(column);
		this.setState(answer.over === null ? "live" : "over",
			      answer.over === null ? "live" : answer.over +
			      "; what was seen stays here");
		this.schedule();
		return true;
	}

	takeSegments(segments) {
		const several = new Set(segments.map(one => one.pid)).size > 1;

		this.segments = new Map();
		segments.sort((a, b) => a.pid - b.pid || a.first - b.first ||
			      a.id - b.id);
		this.map.setSegments(segments.map(one => {
			const name = one.name + (several ? " of " + one.pid : "");
			const segment = {
				id: one.id, first: one.first, npages: one.npages,
				from: one.from_ns / NS, name,
				label: (several ? one.pid + " " : "") +
					shortName(one.name),
			};

			if (one.to_ns !== undefined)
				segment.to = one.to_ns / NS;
			this.segments.set(one.id, segment);
			return segment;
		}));
	}

	takeColumn(column) {
		const begin = column.begin_ns / NS, end = column.end_ns / NS;

		this.newest = column.number;
		this.columns.push(column);
		this.map.append({ begin, end, intervals: 1, runs: column.runs });
		if (this.columns.length > COLUMNS_MAX) {
			this.columns.shift();
			this.map.dropBefore(this.columns[0].begin_ns / NS);
		}
	}

	// ---- what is shown ----

	// Not for each interval, if these are short.
	schedule() {
		if (this.pending)
			return;
		const wait = Math.max(0, (this.shown || 0) + DRAW_MS -
				      performance.now());

		this.pending = setTimeout(() => {
			this.pending = 0;
			this.shown = performance.now();
			this.show();
		}, wait);
	}

	show() {
		const last = this.columns[this.columns.length - 1];

		if (!this.latest)
			return;
		this.showHead(last);
		this.showScale();
		this.showCharts();
		this.showHot();
		this.showMappings(last);
	}

	showHead(last) {
		const now = this.latest;
		const seconds = last ? (last.end_ns - last.begin_ns) / NS : 0;
		const rate = last ? last.dirty_pages / seconds : 0;
		const set = now.window_ns ? now.window_dirty_pages : 0;
		const waiting = "the first interval is not over";

		document.title = now.name + (last ? ": " + bytesRate(rate) : "") +
			" – Tidemark";
		byId("title").textContent = now.name;
		byId("about").textContent = "Process " + now.pid +
			(now.processes > 1 ? " and " + (now.processes - 1) +
			 " of its children" : "") + ", looked at every " +
			formatSpan(now.interval_ns / NS) + ", for " +
			formatSpan(Math.round(now.watched_ns / NS)) +
			" until now. A page is " + formatBytes(PAGE_BYTES) + ".";
		byId("facts").replaceChildren(
			fact("Dirty rate", last ? bytesRate(rate) : "–",
			     last ? formatNumber(rate) + " pages/s, in the last " +
			     formatSpan(seconds) : waiting),
			fact("Written in the last interval",
			     last ? formatBytes(last.dirty_pages * PAGE_BYTES)
				     : "–",
			     last ? formatNumber(last.dirty_pages) +
			     " distinct pages in " + formatSpan(seconds)
				     : waiting),
			fact("Working set", now.window_ns
				? formatBytes(set * PAGE_BYTES) : "–",
			     now.window_ns ? formatNumber(set) +
			     " distinct pages in " +
			     formatSpan(now.window_ns / NS)
				     : "the first window is not over"),
			fact("Watched", formatBytes(now.mapped_pages *
						    PAGE_BYTES),
			     formatNumber(now.mapped_pages) + " pages in " +
			     formatNumber(now.mappings_count) + " mappings"),
			fact("Watching took", now.watched_ns
				? percent(now.harvest_ns / now.watched_ns) : "–",
			     last ? "of the time; the last look " +
			     formatSpan(last.harvest_ns / NS) : waiting),
			fact("Process held up", formatSpan(now.held_ns / NS),
			     "a thread of it, to attach; in all"));
	}

	showScale() {
		const left = this.columns.reduce(
			(sum, one) => sum + one.left_out_pages, 0);

		byId("map-scale").textContent = "The last " +
			formatNumber(COLUMNS_MAX) + " intervals at most; the " +
			"newest is at the right edge. Low addresses are at " +
			"the top; what was not written in that time is left " +
			"out, and a mapping of less than " +
			formatPages(this.map.leastPages || 1) + " is drawn as " +
			"high as that. Of an interval with many scattered " +
			"pages, neighbours are drawn as one." + (left
				? " Too many mappings are written: " +
				formatPages(left) + " in the sum of intervals " +
				"are not in the map." : "");
	}

	showCharts() {
		const { columns } = this;
		const span = formatSpan(this.latest.interval_ns / NS);
		const windows = columns.filter(one => one.window_ns);
		const window = formatSpan(this.latest.window_ns / NS);

		this.rate.update({ series: [
			{ name: "written, distinct in each interval of " + span,
			  kind: "line", points: columns.map(one => [
				  (one.begin_ns + one.end_ns) / 2 / NS,
				  one.dirty_pages * PAGE_BYTES * NS /
					  (one.end_ns - one.begin_ns)]) }] });
		byId("rate-text").textContent = "Pages that are written several " +
			"times in an interval count once in it.";
		this.set.update({ series: [
			{ name: "written, distinct in each window of " +
				(windows.length ? window : "some intervals"),
			  kind: "line", points: windows.map(one => [
				  one.end_ns / NS, one.window_dirty_pages *
					  PAGE_BYTES]) }] });
		byId("set-text").textContent = windows.length
			? "A point is the distinct pages of a window, at its end."
			: "The first window is not over.";
	}

	// Blocks of segments with the most pages written, neighbours as one.
	hottest(columns) {
		const blocks = [];

		for (const [id, { npages }] of this.segments) {
			const size = Math.pow(2, Math.max(0, Math.ceil(
				Math.log2(npages / HOT_BLOCKS))));

			blocks[id] = { size, pages: new Float64Array(
				Math.ceil(npages / size)) };
		}
		for (const { runs } of columns)
			for (let i = 0; i < runs.length; i += 4)
				if (blocks[runs[i]])
					HeatMap.spread(
						blocks[runs[i]].pages,
						runs[i + 1] / blocks[runs[i]].size,
						(runs[i + 1] + runs[i + 2]) /
							blocks[runs[i]].size,
						runs[i + 3]);
		return blocks;
	}

	// Ranges with a share of at least half of their hottest block's.
	ranges(id, { size, pages }) {
		const { first, npages, name } = this.segments.get(id);
		const share = i => pages[i] / Math.min(size, npages - i * size);
		const found = [];

		for (let i = 0; i < pages.length; i++) {
			if (pages[i] === 0)
				continue;
			const last = found[found.length - 1];
			const here = share(i);

			if (last && last.end === i && here > last.most / 2 &&
			    here < last.most * 2) {
				last.end++;
				last.pages += pages[i];
				last.most = Math.max(last.most, here);
			} else {
				found.push({ begin: i, end: i + 1, most: here,
					     pages: pages[i] });
			}
		}
		return found.map(one => {
			const begin = one.begin * size;
			const end = Math.min(npages, one.end * size);

			return { id, name, first: first + begin,
				 npages: end - begin, pages: one.pages };
		});
	}

	showHot() {
		const columns = this.columns.slice(-HOT_COLUMNS);
		const count = columns.length || 1;
		const seconds = columns.length ? (columns[columns.length - 1]
			.end_ns - columns[0].begin_ns) / NS : 0;
		const all = columns.reduce((sum, one) => sum + one.dirty_pages, 0);
		const found = [];

		this.hottest(columns).forEach((block, id) =>
			found.push(...this.ranges(id, block)));
		found.sort((a, b) => b.pages - a.pages);
		byId("hot-text").textContent = columns.length
			? "Of the last " + formatNumber(columns.length) +
			(columns.length === 1 ? " interval" : " intervals") +
			", " + formatSpan(seconds) + ": where the most pages " +
			"were written, on the average of an interval, in " +
			"pages and bytes."
			: "The first interval is not over.";
		byId("hot").replaceChildren(table([
			{ title: "Addresses", kind: "text",
			  text: row => element("code", range(row.first,
							     row.npages)) },
			{ title: "Mapping", kind: "name text",
			  text: row => row.name },
			{ title: "Size", pages: row => row.npages },
			{ title: "Written an interval",
			  pages: row => row.pages / count },
			{ title: "Share of it", kind: "share",
			  share: row => row.pages / count / row.npages,
			  text: row => percent(row.pages / count / row.npages) },
			{ title: "Share of all", kind: "share",
			  share: row => row.pages / (all || 1),
			  text: row => percent(row.pages / (all || 1)) },
		], found.slice(0, HOT_ROWS)));
	}

	showMappings(last) {
		const now = this.latest;
		const several = now.processes > 1;
		const written = now.mappings.filter(one => one.all_dirty_pages);
		const others = written.length === now.mappings.length
			? now.mappings_count - written.length : 0;
		const seconds = last ? formatSpan((last.end_ns - last.begin_ns) /
						  NS) : "an interval";

		byId("mappings-text").textContent = (others > 0
			? "The " + written.length + " mappings of " +
			formatNumber(now.mappings_count) + " with the most " +
			"pages written since watching began. In the others: " +
			formatPages(now.other_last_pages) + " in the last " +
			seconds + "."
			: "Those of " + formatNumber(now.mappings_count) +
			" mappings that were written since watching began.") +
			" Figures are pages and bytes; in the sum of intervals " +
			"a page counts once for each that it was written in.";
		byId("mappings").replaceChildren(table([
			{ title: "Mapping", kind: "name text",
			  text: row => [row.name, element("small", row.shared
				  ? " shared" : "")] },
			{ title: "Process", text: row => String(row.pid) },
			{ title: "Addresses", kind: "text",
			  text: row => element("code", row.start.padStart(
				  12, "0") + "–" + row.end.padStart(12, "0")) },
			{ title: "Size", pages: row => row.pages },
			{ title: "In the last " + seconds,
			  pages: row => row.dirty_pages },
			{ title: "Share of it", kind: "share",
			  share: row => row.dirty_pages / row.pages,
			  text: row => percent(row.dirty_pages / row.pages) },
			{ title: "Sum of intervals",
			  pages: row => row.all_dirty_pages },
		].filter(column => several || column.title !== "Process"),
		written));
	}

	// ---- questions ----

	async ask() {
		const wait = this.instance !== null && !this.more ? "&wait=1" : "";
		const response = await fetch("/data?since=" + this.newest + wait, {
			cache: "no-store", signal: AbortSignal.timeout(30000) });

		if (!response.ok)
			throw new Error(response.status);
		return response.json();
	}

	async run() {
		while (this.over === null || this.more) {
			const asked = performance.now();
			let pause = ASK_MS;

			try {
				const answer = await this.ask();

				this.more = !this.take(answer) || answer.more;
				if (this.more)
					pause = 0;
			} catch (_) {
				if (this.over !== null)
					return; // it has gone, as it said
				this.more = true; // do not wait for an interval
				this.setState("lost", "no connection to the " +
					      "tidemark command; trying again");
				pause = RETRY_MS;
			}
			await new Promise(done => setTimeout(
				done, asked + pause - performance.now()));
		}
	}
}

const page = new LivePage();

page.run();
