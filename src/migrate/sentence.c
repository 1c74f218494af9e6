/* SPDX-License-Identifier: MIT */
/* sentence.c - why something failed, for people */
#include "migrate/sentence.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int tide_say(struct tide_sentence *sentence, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* A text that is cut short is still a text. */
	(void)vsnprintf(sentence->text, sizeof(sentence->text), format, args);
	va_end(args);
	return error;
}

int tide_say_errno(struct tide_sentence *sentence, int error, const char *what)
{
	const char *description = strerrordesc_np(-error);

	if (sentence->text[0])
		return error;
	if (!description)
		return tide_say(sentence, error, "%s: error %d", what, -error);
	return tide_say(sentence, error, "%s: %s", what, description);
}

void tide_sentence_copy(const struct tide_sentence *sentence, char *ret,
			size_t size)
{
	if (ret && size)
		(void)snprintf(ret, size, "%s", sentence->text);
}
