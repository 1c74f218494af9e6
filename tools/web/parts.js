// SPDX-License-Identifier: MIT
// parts.js - what the pages of the command have in common
"use strict";

function byId(id) {
	return document.getElementById(id);
}

function percent(part) {
	return part > 0 && part < 0.001 ? "under 0.1\u00a0%"
		: formatNumber(Math.round(part * 1000) / 10) + "\u00a0%";
}

// A path by its last part.
function shortName(name) {
	return name === "" ? "anonymous"
		: name.startsWith("/") ? name.slice(name.lastIndexOf("/") + 1) ||
		name : name;
}

function range(first, npages) {
	return formatAddress(first) + "–" + formatAddress(first + npages);
}

function bytesRate(pages) {
	return formatBytes(pages * PAGE_BYTES) + "/s";
}

function fact(name, figure, more) {
	const box = element("div");
	const value = element("dd", figure);

	value.append(element("span", more));
	box.append(element("dt", name), value);
	return box;
}

// What the colours of a map mean; @text: of what they are the share.
function showLegend(map, text) {
	const none = element("span", "", "none");
	const nothing = element("span");
	const scale = element("div", text, "scale");
	const ramp = element("canvas");
	const marks = element("div", undefined, "marks");
	const paint = () => {
		const context = ramp.getContext("2d");

		ramp.width = 256;
		ramp.height = 1;
		heatRamp(map.scheme.matches).forEach((colour, i) => {
			context.fillStyle = `rgb(${colour.join(",")})`;
			context.fillRect(i, 0, 1, 1);
		});
	};

	for (const mark of ["≤ 0.1 %", "1 %", "10 %", "100 %"])
		marks.append(element("span", mark));
	ramp.setAttribute("aria-hidden", "true");
	nothing.append(none, "nothing written");
	scale.append(ramp, marks);
	byId("legend").replaceChildren(nothing, scale);
	map.scheme.addEventListener("change", paint);
	paint();
}

// What of the map is seen, in words.
function showSeen(map) {
	const { t0, t1, a0, a1 } = map.seen();
	const step = (t1 - t0) / 100;
	const pages = map.shown.reduce((sum, { top, height, scale }) => sum +
		Math.max(0, Math.min(a1, top + height) - Math.max(a0, top)) /
		scale, 0);

	byId("map-seen").textContent = map.view
		? formatMoment(t0, step) + " to " + formatMoment(t1, step) +
		", " + formatPages(Math.round(pages)) : "everything";
	byId("zoom-reset").disabled = byId("zoom-out").disabled = !map.view;
}

function listenZoom(map) {
	byId("zoom-in").addEventListener("click", () => map.zoom(0.5));
	byId("zoom-out").addEventListener("click", () => map.zoom(2));
	byId("zoom-reset").addEventListener("click", () => map.reset());
}

function bytesAxis(rate) {
	return { bytes: true, format: (bytes, exactly) => exactly
		? formatPages(Math.round(bytes / PAGE_BYTES)) +
			(rate ? " a second" : "")
		: formatBytes(bytes) + (rate ? "/s" : "") };
}

// ---- tables ----

function fillCell(cell, column, row) {
	if (column.pages) {
		const pages = column.pages(row);

		cell.append(formatNumber(Math.round(pages)) + " ",
			    element("small", formatBytes(pages * PAGE_BYTES)));
		cell.className = "two";
	} else {
		cell.append(...[column.text(row)].flat());
		cell.className = column.kind || "";
	}
	if (column.share)
		cell.style.setProperty("--share", 100 * column.share(row) + "%");
}

// columns: { title, pages: row => pages or text: row => text or elements,
// [kind: of the cell, key: row => what to sort by, way: they come sorted,
// share: row => 0 to 1, as a bar] }; limit: how many rows there are before
// somebody asks for all
function table(columns, rows, limit = Infinity) {
	const made = element("table");
	const head = element("tr"), body = element("tbody");
	const more = element("button", "Show all " + formatNumber(rows.length));
	let shown = rows;
	const fill = sorted => {
		shown = sorted;
		body.replaceChildren(...sorted.slice(0, limit).map(
			row => makeRow(columns, row)));
		more.hidden = rows.length <= limit;
	};
	const box = element("div");

	for (const column of columns) {
		const kind = (column.kind || "").includes("text") ? "text"
			: undefined;
		const title = element("th", undefined, kind);

		title.scope = "col";
		if (column.way)
			title.setAttribute("aria-sort", column.way);
		if (column.key)
			makeSorter(title, column, rows, fill);
		else
			title.textContent = column.title;
		head.append(title);
	}
	const top = element("thead");

	top.append(head);
	made.append(top, body);
	more.type = "button";
	more.addEventListener("click", () => {
		limit = Infinity;
		fill(shown);
	});
	box.append(made, more);
	fill(rows);
	return box;
}

function makeRow(columns, row) {
	const line = element("tr");

	for (const column of columns) {
		const cell = element("td");

		fillCell(cell, column, row);
		line.append(cell);
	}
	return line;
}

function makeSorter(title, column, rows, fill) {
	const button = element("button", column.title);

	button.type = "button";
	button.addEventListener("click", () => {
		// Texts from A, figures from the largest.
		const first = column.kind ? "ascending" : "descending";
		const other = column.kind ? "descending" : "ascending";
		const way = title.getAttribute("aria-sort") === first ? other
			: first;
		const sign = way === "ascending" ? 1 : -1;

		for (const cell of title.parentElement.children)
			cell.removeAttribute("aria-sort");
		title.setAttribute("aria-sort", way);
		fill([...rows].sort((a, b) => {
			const x = column.key(a), y = column.key(b);

			return sign * (x < y ? -1 : x > y ? 1 : 0);
		}));
	});
	title.append(button);
}
