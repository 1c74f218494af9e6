/* SPDX-License-Identifier: MIT */
/* outcome.c - what the executions of a program have led to */
#include "outcome.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define OUTCOMES_MAX 256

static struct {
	uint32_t registers;
	char current[OUTCOME_REGISTERS_MAX + 1];
	uint32_t count;
	char found[OUTCOMES_MAX][OUTCOME_REGISTERS_MAX + 1];
} outcome;

void outcome_begin(uint32_t registers)
{
	assert(registers <= OUTCOME_REGISTERS_MAX);
	memset(&outcome, 0, sizeof(outcome));
	outcome.registers = registers;
}

void outcome_reset(void)
{
	memset(outcome.current, '-', outcome.registers);
}

void outcome_set(uint32_t number, uint64_t value)
{
	assert(number < outcome.registers && value <= 9);
	outcome.current[number] = (char)('0' + value);
}

void outcome_record(void)
{
	for (uint32_t i = 0; i < outcome.count; i++) {
		if (!strcmp(outcome.found[i], outcome.current))
			return;
	}
	assert(outcome.count < OUTCOMES_MAX);
	memcpy(outcome.found[outcome.count++], outcome.current,
	       sizeof(outcome.current));
}

static void append(char *message, size_t nbytes, const char *what,
		   const char *text, size_t length)
{
	size_t used = strlen(message);

	(void)snprintf(message + used, nbytes - used, "%s%s %.*s",
		       used ? ", " : "", what, (int)length, text);
}

/* The next word of @text; its length is 0 at the end. */
static const char *next_word(const char *text, size_t *ret_length)
{
	text += strspn(text, " ");
	*ret_length = strcspn(text, " ");
	return text;
}

static bool is_expected(const char *expected, const char *found)
{
	size_t length;

	/* A program without registers has one outcome. */
	if (!*found)
		return true;
	for (const char *word = next_word(expected, &length); length;
	     word = next_word(word + length, &length)) {
		if (length == strlen(found) && !strncmp(word, found, length))
			return true;
	}
	return false;
}

bool outcome_compare(const char *expected, char *message, size_t nbytes)
{
	size_t length;

	message[0] = '\0';
	for (const char *word = next_word(expected, &length); length;
	     word = next_word(word + length, &length)) {
		bool found = false;

		for (uint32_t i = 0; i < outcome.count && !found; i++)
			found = length == strlen(outcome.found[i]) &&
				!strncmp(word, outcome.found[i], length);
		if (!found)
			append(message, nbytes, "missing", word, length);
	}
	for (uint32_t i = 0; i < outcome.count; i++) {
		if (!is_expected(expected, outcome.found[i]))
			append(message, nbytes, "invented", outcome.found[i],
			       strlen(outcome.found[i]));
	}
	return !message[0];
}

const char *outcome_get(uint32_t number)
{
	return number < outcome.count ? outcome.found[number] : NULL;
}
