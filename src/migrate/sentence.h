/* SPDX-License-Identifier: MIT */
/*
 * sentence.h - why something failed, for people
 *
 * Whoever finds a fault writes the sentence where the facts are known and
 * returns the error; everybody above only passes it on.
 */
#ifndef TIDE_MIGRATE_SENTENCE_H
#define TIDE_MIGRATE_SENTENCE_H

#include <stddef.h>

#define TIDE_SENTENCE_MAX 256 /* bytes, the final 0 included */

struct tide_sentence {
	char text[TIDE_SENTENCE_MAX]; /* empty: nothing said yet */
};

/* Replaces the text.  Return: @error, so that one can return at once. */
__attribute__((format(printf, 3, 4))) int
tide_say(struct tide_sentence *sentence, int error, const char *format, ...);

/* "what: description of @error", unless something was said already.
 * Return: @error. */
int tide_say_errno(struct tide_sentence *sentence, int error, const char *what);

/* Copies the text to the caller's room, shortened to fit. */
void tide_sentence_copy(const struct tide_sentence *sentence, char *ret,
			size_t size);

#endif
