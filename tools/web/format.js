// SPDX-License-Identifier: MIT
// format.js - figures as people read them: bytes, pages, times, addresses
//
// A figure and its unit stay on one line: the blank between them is one that
// does not break.
"use strict";

const PAGE_BYTES = 4096;

function formatNumber(value) {
	const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0
		: Math.abs(value) >= 10 ? 1 : 2;

	return value.toLocaleString("en", { maximumFractionDigits: digits });
}

function formatBytes(bytes) {
	const names = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
	let at = 0;

	while (Math.abs(bytes) >= 1024 && at < names.length - 1) {
		bytes /= 1024;
		at++;
	}
	return formatNumber(bytes) + "\u00a0" + names[at];
}

// "512 pages (2 MiB)"
function formatPages(pages) {
	return formatNumber(pages) + (pages === 1 ? "\u00a0page (" : "\u00a0pages (") +
		formatBytes(pages * PAGE_BYTES) + ")";
}

// A length of time, from seconds.
function formatSpan(seconds) {
	if (seconds === 0)
		return "0\u00a0s";
	if (seconds < 1e-6)
		return formatNumber(seconds * 1e9) + "\u00a0ns";
	if (seconds < 1e-3)
		return formatNumber(seconds * 1e6) + "\u00a0µs";
	if (seconds < 1)
		return formatNumber(seconds * 1e3) + "\u00a0ms";
	if (seconds < 120)
		return formatNumber(seconds) + "\u00a0s";
	if (seconds < 7200)
		return formatNumber(seconds / 60) + "\u00a0min";
	return formatNumber(seconds / 3600) + "\u00a0h";
}

// A moment, seconds after the beginning; @step: how fine it has to be.
function formatMoment(seconds, step) {
	const fine = step < 1e-3 ? 4 : step < 1e-2 ? 3 : step < 0.1 ? 2
		: step < 1 ? 1 : 0;
	const whole = Number(seconds.toFixed(fine));
	const hours = Math.floor(whole / 3600);
	const minutes = Math.floor(whole / 60) % 60;
	const rest = whole - hours * 3600 - minutes * 60;
	const tail = rest.toFixed(fine);

	if (whole < 60)
		return tail + "\u00a0s";
	return (hours ? hours + ":" + String(minutes).padStart(2, "0")
		: String(minutes)) + ":" +
		tail.padStart(fine ? fine + 3 : 2, "0");
}

// Of a page number.
function formatAddress(page) {
	return (BigInt(page) * BigInt(PAGE_BYTES)).toString(16)
		.padStart(12, "0");
}

// Steps of 1, 2 or 5 times a power of ten (for times: of what a clock has),
// so that at most @count fit in @span.
function niceStep(span, count) {
	const least = span / Math.max(1, count);
	const power = Math.pow(10, Math.floor(Math.log10(least)));

	return [1, 2, 5, 10].map(n => n * power).find(n => n >= least);
}

function niceTimeStep(span, count) {
	const least = span / Math.max(1, count);
	const clock = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600,
		       7200, 10800, 21600, 43200, 86400];

	return least <= 1 ? niceStep(span, count)
		: clock.find(n => n >= least) || niceStep(span, count);
}

// An element with text in it, which is never read as HTML.
function element(tag, text, className) {
	const made = document.createElement(tag);

	if (text !== undefined)
		made.textContent = text;
	if (className)
		made.className = className;
	return made;
}
