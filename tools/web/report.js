// SPDX-License-Identifier: MIT
// report.js - the page of tidemark report
