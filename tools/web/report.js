// SPDX-License-Identifier: MIT
// report.js - the page of tidemark report: a trace, drawn
//
// Everything it shows comes from the JSON in the page, whose names are as a
// hostile process may choose them; so it makes elements, and no HTML.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const NS = 1e9;
const ROWS_AT_FIRST = 200; // thousands take a browser seconds
const meanInterval = data.trace_ns / data.intervals / NS;
const severalPids = new Set(data.mappings.map(one => one.pid)).size > 1;

function showHead() {
	const seconds = data.trace_ns / NS;
	const started = new Date(data.start_ns / 1e6);
	const fastest = data.columns.reduce(
		(most, one) => Math.max(most, one.rate_max), 0);
	const each = data.written_pages / data.intervals;
	const name = data.command || "process " + data.pid;

	document.title = name + " – Tidemark report";
	byId("title").textContent = name;
	byId("when").textContent = "Process " + data.pid + ", recorded " +
		started.toLocaleString() + " for " + formatSpan(seconds) +
		", in " + formatNumber(data.intervals) +
		(data.intervals === 1 ? " interval of " : " intervals of ") +
		formatSpan(meanInterval) + ".";
	byId("facts").append(
		fact("Memory with content",
		     formatBytes(data.memory_pages * PAGE_BYTES),
		     formatNumber(data.memory_pages) + " pages, about " +
		     percent(data.memory_pages ? 1 - data.data_pages /
			     data.memory_pages : 0) + " zeros"),
		fact("Written at least once",
		     formatBytes(data.dirty_pages * PAGE_BYTES),
		     formatNumber(data.dirty_pages) + " pages in " +
		     formatSpan(seconds) + (data.memory_pages
			? ", as much as " + percent(data.dirty_pages /
			  data.memory_pages) + " of its memory" : "")),
		fact("Written in an interval", formatBytes(each * PAGE_BYTES),
		     formatNumber(each) + " pages in " +
		     formatSpan(meanInterval) + ", on the average"),
		fact("Fastest interval", bytesRate(fastest),
		     formatNumber(fastest) + " pages/s"),
		fact("Watching took", percent(data.harvest_ns / data.trace_ns),
		     "of the time; longest look " +
		     formatSpan(data.harvest_ns_max / NS)),
		fact("Process held up", formatSpan(data.held_ns / NS),
		     "in all; the longest time " +
		     formatSpan(data.held_ns_max / NS)));
	byId("footer").textContent = "Made by tidemark " + data.version +
		" report. A page is " + formatBytes(PAGE_BYTES) + ".";
}

// ---- the map ----

function decodeCells() {
	const bytes = Uint8Array.from(atob(data.cells), c => c.charCodeAt(0));
	const firstRows = [];
	let rows = 0, offset = 0;

	for (const [, , npages] of data.segments) {
		firstRows.push(rows);
		rows += Math.ceil(npages / data.cell_pages);
	}
	firstRows.push(rows);
	return data.columns.map((column, i) => {
		const end = offset + data.sizes[i];
		const runs = decodeColumn(bytes, offset, end, firstRows);

		offset = end;
		return { begin: column.begin_ns / NS, end: column.end_ns / NS,
			 intervals: column.intervals, runs };
	});
}

// tools/report_cells.h says what the bytes are.
function decodeColumn(bytes, at, end, firstRows) {
	const runs = [];
	let row = 0, segment = 0;
	const number = () => {
		let value = 0, scale = 1;

		for (;; scale *= 128) {
			const byte = bytes[at++];

			value += (byte & 127) * scale;
			if (byte < 128)
				return value;
		}
	};

	while (at < end) {
		row += number();
		let left = number() + 1;
		const pages = number();

		while (left > 0) {
			while (row >= firstRows[segment + 1])
				segment++;
			const here = Math.min(left, firstRows[segment + 1] - row);
			const first = (row - firstRows[segment]) *
				data.cell_pages;

			runs.push(segment, first, Math.min(
				here * data.cell_pages,
				data.segments[segment][2] - first),
				here * pages);
			row += here;
			left -= here;
		}
	}
	return runs;
}

function segmentLabel([pid, , , , , areas, name]) {
	return (severalPids ? pid + " " : "") + shortName(name) +
		(areas > 1 ? " +" + (areas - 1) : "");
}

// What is mapped there at that time; failing that, at any time.
function nameOf(pid, page, seconds) {
	const there = data.mappings.filter(
		one => one.pid === pid && page >= one.first_gfn &&
		page < one.first_gfn + one.npages);
	const then = there.find(one => seconds * NS >= one.from_ns &&
				seconds * NS < one.to_ns) || there[0];

	return then ? (then.name || "anonymous") +
		(severalPids ? " of " + pid : "") : null;
}

function showMap() {
	const map = new HeatMap(byId("map"), {
		cellPages: data.cell_pages,
		name: (segment, page, seconds) =>
			nameOf(segment.pid, page, seconds) || segment.label,
		changed: () => showSeen(map),
	});
	const cells = formatPages(data.cell_pages) + " by " +
		(data.column_intervals === 1 ? "an interval"
			: formatNumber(data.column_intervals) + " intervals") +
		" of " + formatSpan(meanInterval);

	map.setSegments(data.segments.map((one, id) => ({
		id, pid: one[0], first: one[1], npages: one[2],
		from: one[3] / NS, to: one[4] / NS, label: segmentLabel(one),
	})));
	for (const column of decodeCells())
		map.append(column);
	showLegend(map, "Pages of a cell that were written in an interval of " +
		   formatSpan(meanInterval));
	byId("map-scale").textContent = "A cell is " + cells + "; nothing finer " +
		"is in this page. Low addresses are at the top; what is not " +
		"mapped is left out, and a mapping of less than " +
		formatPages(map.leastPages) + " is drawn as high as that.";
	listenZoom(map);
	return map;
}

function showCurve() {
	const points = data.curve.map(one => ({
		seconds: one.window_ns / NS, mean: one.pages * PAGE_BYTES,
		low: one.low * PAGE_BYTES, high: one.high * PAGE_BYTES,
		product: data.rate_pages * PAGE_BYTES * one.window_ns / NS }));
	const last = points[points.length - 1];
	const chart = new LineChart(byId("curve"), {
		label: "Dirty curve: memory written against the length of a " +
			"window of time; the numbers are in the table below",
		log: true,
		x: { title: "length of the window", time: true,
		     format: formatSpan },
		y: bytesAxis(false),
		series: [
			{ name: "written, 10th to 90th percentile of the windows",
			  kind: "band",
			  points: points.map(p => [p.seconds, p.low, p.high]) },
			{ name: "written, on the average", kind: "line",
			  points: points.map(p => [p.seconds, p.mean]) },
			{ name: "what rate times time would say", kind: "other",
			  loose: true,
			  points: points.map(p => [p.seconds, p.product]) },
		],
	});

	byId("curve-axes").addEventListener("click", event => {
		const log = !chart.options.log;

		chart.update({ log });
		event.target.setAttribute("aria-pressed", String(log));
	});
	byId("curve-text").textContent = "Distinct pages: one that is written " +
		"again and again counts once, and one whose mapping is gone " +
		"at the end of the window does not count. In " + formatSpan(last.seconds) +
		" they are " + formatBytes(last.mean) + "; the rate of one " +
		"interval (" + formatSpan(data.interval_ns / NS) + ") times that time " +
		"would say " + formatBytes(last.product) + ".";
	byId("curve-table").append(table([
		{ title: "Window", text: p => formatSpan(p.seconds) },
		{ title: "Written, average", pages: p => p.mean / PAGE_BYTES },
		{ title: "10th percentile", pages: p => p.low / PAGE_BYTES },
		{ title: "90th percentile", pages: p => p.high / PAGE_BYTES },
		{ title: "Rate times time",
		  pages: p => p.product / PAGE_BYTES },
	], points));
}

function showRate() {
	const columns = data.columns.map(one => ({
		seconds: one.begin_ns / NS,
		end: one.end_ns / NS,
		middle: (one.begin_ns + one.end_ns) / 2 / NS,
		mean: one.pages / ((one.end_ns - one.begin_ns) / NS),
		low: one.rate_min, high: one.rate_max }));
	const several = data.column_intervals > 1;
	const step = meanInterval * data.column_intervals;
	const series = [{ name: "written, distinct in each interval of " +
			  formatSpan(meanInterval), kind: "line",
			  points: columns.map(c => [c.middle,
						    c.mean * PAGE_BYTES]) }];

	if (several)
		series.unshift({ name: "least and most of " +
				 data.column_intervals + " intervals",
				 kind: "band", points: columns.map(
					 c => [c.middle, c.low * PAGE_BYTES,
					       c.high * PAGE_BYTES]) });
	new LineChart(byId("rate"), {
		label: "Dirty rate over time; the numbers are in the table below",
		log: false, series, y: bytesAxis(true),
		x: { title: "time", time: true,
		     format: (t, exactly, ticks) => formatMoment(
			     t, exactly ? step / 2 : ticks || step) },
	});
	byId("rate-text").textContent = "Pages that are written several times " +
		"in an interval count once in it. A point is " +
		(several ? "the average of " + data.column_intervals +
		 " intervals." : "an interval.");
	byId("rate-table").append(table([
		{ title: "From", text: c => formatMoment(c.seconds, step / 10) },
		{ title: "To", text: c => formatMoment(c.end, step / 10) },
		{ title: "Written a second", pages: c => c.mean },
	], columns, ROWS_AT_FIRST));
}

// ---- mappings ----

function showButton(map, row) {
	const button = element("button", "show");
	const id = data.segments.findIndex(
		([pid, first, npages]) => pid === row.pid &&
		row.first_gfn >= first && row.first_gfn < first + npages);

	button.type = "button";
	button.setAttribute("aria-label", "show " + shortName(row.name) +
			    " at " + formatAddress(row.first_gfn) + " in the map");
	button.addEventListener("click", () => {
		map.showSegment(id);
		map.canvas.scrollIntoView({ block: "center" });
		map.canvas.focus();
	});
	return button;
}

function hottest(row) {
	if (!row.hottest_npages)
		return ["–"];
	return [element("code", formatAddress(row.hottest_gfn)), element("small",
		formatPages(row.hottest_npages) + ", " + formatNumber(
			row.hottest_written_pages / data.intervals) +
		" an interval")];
}

function showMappings(map) {
	const other = data.other_mappings;
	const columns = [
		{ title: "Mapping", kind: "name text",
		  key: row => shortName(row.name).toLowerCase(),
		  text: row => [row.name || "anonymous", element("small",
			(row.shared ? " shared" : "") + (row.mappings > 1
				? " in " + row.mappings + " pieces" : ""))] },
		{ title: "Process", text: row => String(row.pid),
		  key: row => row.pid },
		{ title: "Addresses", kind: "text", key: row => row.first_gfn,
		  text: row => element("code", range(row.first_gfn,
						     row.npages)) },
		{ title: "Size", pages: row => row.npages,
		  key: row => row.npages },
		{ title: "Had content", pages: row => row.populated_pages,
		  key: row => row.populated_pages },
		{ title: "Written", pages: row => row.distinct_pages,
		  key: row => row.distinct_pages },
		{ title: "Sum of intervals", way: "descending",
		  pages: row => row.written_pages,
		  key: row => row.written_pages },
		{ title: "Busiest interval", pages: row => row.peak_pages,
		  key: row => row.peak_pages },
		{ title: "Hottest", kind: "two text", text: hottest,
		  key: row => row.hottest_written_pages /
			  (row.hottest_npages || 1) },
		{ title: "Map", text: row => [showButton(map, row)] },
	].filter(column => severalPids || column.title !== "Process");

	byId("mappings-text").textContent = formatNumber(data.mappings.length +
		other.count) + " mappings in " + formatSpan(data.trace_ns / NS) +
		", in pages and bytes; an interval is " +
		formatSpan(meanInterval) + ". Written: at least once. In the sum " +
		"a page counts once for each interval that it was written in. " +
		"Hottest: the cell of the map that was written the most." +
		(other.count ? " Of these " + formatNumber(other.count) +
		 " with the least written are not listed: " +
		 formatPages(other.npages) + ", of which " +
		 formatPages(other.distinct_pages) + " were written, in sum " +
		 formatPages(other.written_pages) + "." : "");
	byId("mappings").append(table(columns, data.mappings,
					ROWS_AT_FIRST));
}

showHead();
showCurve();
showRate();
const map = showMap();
showMappings(map);
