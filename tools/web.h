/* SPDX-License-Identifier: MIT */
/*
 * web.h - the pages that the command carries
 *
 * web/embed.py makes them of web/NAME.html and what it includes; each is in as
 * many pieces as there is data to put between them, and one.
 */
#ifndef WEB_H
#define WEB_H

#include <stddef.h>

struct web_piece {
	const unsigned char *text;
	size_t size;
};

extern const struct web_piece web_report[2];
extern const struct web_piece web_live[1];

#endif
