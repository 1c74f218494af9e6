/* SPDX-License-Identifier: MIT */
/* utf8.c - text that somebody else wrote */
#include "utf8.h"

#include <string.h>

uint32_t utf8_decode(const char *text, size_t *ret_size)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *at = (const unsigned char *)text;
	size_t size = at[0] < 0x80   ? 1
		      : at[0] < 0xc0 ? 0
		      : at[0] < 0xe0 ? 2
		      : at[0] < 0xf0 ? 3
		      : at[0] < 0xf8 ? 4
				     : 0;
	uint32_t code;

	*ret_size = 1;
	if (size == 1)
		return at[0];
	if (size == 0)
		return UTF8_REPLACEMENT;
	code = at[0] & (0x7fu >> size);
	for (size_t i = 1; i < size; i++) {
		/* The null at the end is no such byte either. */
		if ((at[i] & 0xc0) != 0x80)
			return UTF8_REPLACEMENT;
		code = code << 6 | (at[i] & 0x3fu);
	}
	if (code < least[size] || code > 0x10ffff ||
	    (code >= 0xd800 && code < 0xe000))
		return UTF8_REPLACEMENT;
	*ret_size = size;
	return code;
}

int utf8_is_hidden(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0xad ||
	       code == 0x61c || (code >= 0x200b && code <= 0x200f) ||
	       (code >= 0x2028 && code <= 0x202e) ||
	       (code >= 0x2060 && code <= 0x206f) || code == 0xfeff ||
	       (code >= 0xfff0 && code < 0xfffd) ||
	       (code >= 0xe0000 && code < 0xe1000);
}

void utf8_clean(const char *text, char *to, size_t size)
{
	while (*text) {
		const char *from = text;
		size_t bytes;
		uint32_t code = utf8_decode(text, &bytes);

		text += bytes;
		if (code == UTF8_REPLACEMENT || utf8_is_hidden(code)) {
			from = UTF8_REPLACEMENT_TEXT;
			bytes = strlen(from);
		}
		if (bytes >= size)
			break;
		memcpy(to, from, bytes);
		to += bytes;
		size -= bytes;
	}
	*to = '\0';
}
