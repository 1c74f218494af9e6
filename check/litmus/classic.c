/* SPDX-License-Identifier: MIT */
/* classic.c - run programs that are written as classic.h says */
#include "classic.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "check/shim/rcu_model.h"
#include "litmus.h"
#include "outcome.h"

#define WORDS_MAX 12 /* of a thread */
#define LOCATIONS 26
#define COPY 0xff /* the value that was read last */

struct word {
	char text[16]; /* also what a trace shows */
	char what;
	uint32_t at;
	uint8_t value, desired;
	int order, failure_order;
	uint32_t reg;
};

static struct {
	uint32_t threads;
	uint32_t words[EXPLORE_THREADS_MAX];
	struct word word[EXPLORE_THREADS_MAX][WORDS_MAX];
	uint32_t registers; /* of reads; those of the last values follow */
	const char *last;   /* locations */
	uint32_t memory[LOCATIONS];
	struct explore_mutex mutex[LOCATIONS];
} now;

static int parse_order(const char *text)
{
	static const struct {
		const char *name;
		int order;
	} orders[] = {
		{ "rlx", __ATOMIC_RELAXED }, { "acq", __ATOMIC_ACQUIRE },
		{ "rel", __ATOMIC_RELEASE }, { "ar", __ATOMIC_ACQ_REL },
		{ "sc", __ATOMIC_SEQ_CST },  { "na", -1 },
	};
	size_t length = strcspn(text, "/");

	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		if (length == strlen(orders[i].name) &&
		    !strncmp(text, orders[i].name, length))
			return orders[i].order;
	}
	assert(!"an order");
	return 0;
}

static void parse_word(struct word *word, const char *text, size_t length)
{
	const char *point, *slash, *at = word->text + 1;

	assert(length < sizeof(word->text));
	*word = (struct word){ .what = *text };
	memcpy(word->text, text, length);
	assert(strchr("WRFAXC?&LU[]Gwr", word->what));
	if (islower((unsigned char)*at))
		word->at = (uint32_t)(*at++ - 'a');
	if (*at == '$')
		word->value = COPY;
	else if (isdigit((unsigned char)*at))
		word->value = (uint8_t)(*at - '0');
	if (word->what == 'C')
		word->desired = (uint8_t)(at[1] - '0');
	point = strchr(word->text, '.');
	slash = strchr(word->text, '/');
	word->order = point ? parse_order(point + 1) : __ATOMIC_RELAXED;
	word->failure_order = slash ? parse_order(slash + 1) : __ATOMIC_RELAXED;
	if (strchr("RAXCr", word->what))
		word->reg = now.registers++;
}

/* Into now. */
static void parse(const char *text)
{
	memset(&now, 0, sizeof(now));
	now.threads = 1;
	now.last = "";
	while (*text) {
		size_t length = strcspn(text, " ");
		uint32_t thread = now.threads - 1;

		if (*text == '|') {
			now.threads++;
		} else if (*text == ';') {
			now.last = text + 2;
			break;
		} else if (length) {
			assert(now.words[thread] < WORDS_MAX);
			parse_word(&now.word[thread][now.words[thread]++], text,
				   length);
		}
		text += length + (text[length] == ' ');
	}
	assert(now.threads <= EXPLORE_THREADS_MAX);
}

static uint64_t read_word(const struct word *word)
{
	uint32_t *at = &now.memory[word->at], old = word->value;

	switch (word->what) {
	case 'R':
		if (word->order < 0)
			return explore_plain_load(at, 4, word->text);
		return explore_load(at, 4, word->order, word->text);
	case 'A':
		return explore_rmw(at, 4, EXPLORE_ADD, word->value, word->order,
				   word->text);
	case 'X':
		return explore_rmw(at, 4, EXPLORE_EXCHANGE, word->value,
				   word->order, word->text);
	case 'C':
		(void)explore_cas(at, 4, &old, word->desired, word->order,
				  word->failure_order, word->text);
		return old;
	case 'r':
	default:
		return classic_read(at);
	}
}

static void write_word(const struct word *word, uint64_t last)
{
	uint32_t *at = &now.memory[word->at];
	uint64_t value = word->value == COPY ? last : word->value;

	if (word->what == 'w')
		classic_write(at, (uint32_t)value);
	else if (word->order < 0)
		explore_plain_store(at, 4, value, word->text);
	else
		explore_store(at, 4, value, word->order, word->text);
}

static void synchronise(const struct word *word)
{
	switch (word->what) {
	case 'F':
		explore_fence(word->order, word->text);
		break;
	case 'L':
		explore_lock(&now.mutex[word->at], word->text);
		break;
	case 'U':
		explore_unlock(&now.mutex[word->at], word->text);
		break;
	case '[':
		tide_rcu_lock();
		break;
	case ']':
		tide_rcu_unlock(NULL);
		break;
	case 'G':
	default:
		tide_rcu_wait(NULL);
		break;
	}
}

static void run_thread(void)
{
	uint32_t self = explore_self();
	uint64_t last = 0;

	for (uint32_t i = 0; i < now.words[self]; i++) {
		const struct word *word = &now.word[self][i];

		if (strchr("RAXCr", word->what)) {
			last = read_word(word);
			outcome_set(word->reg, last);
		} else if (strchr("Ww", word->what)) {
			write_word(word, last);
		} else if (word->what == '?') {
			explore_assume(last == word->value);
		} else if (word->what == '&') {
			if (last != word->value)
				return;
		} else {
			synchronise(word);
		}
	}
}

static void init(void)
{
	memset(now.memory, 0, sizeof(now.memory));
	memset(now.mutex, 0, sizeof(now.mutex));
	rcu_model_init();
	outcome_reset();
}

static void final(void)
{
	for (uint32_t i = 0; now.last[i]; i++)
		outcome_set(now.registers + i, now.memory[now.last[i] - 'a']);
	outcome_record();
}

static void prepare(struct explore_program *program, const char *text)
{
	parse(text);
	outcome_begin(now.registers + (uint32_t)strlen(now.last));
	program->init = init;
	program->final = final;
	program->threads = now.threads;
	for (uint32_t i = 0; i < now.threads; i++)
		program->thread[i] = run_thread;
}

static int run_lines(void)
{
	static struct explore_result result;
	static char line[256];

	while (fgets(line, sizeof(line), stdin)) {
		struct explore_program program = { .name = "line" };
		const char *outcome;

		line[strcspn(line, "\n")] = '\0';
		prepare(&program, line);
		if (explore(&program, NULL, &result))
			return 1;
		printf("%llu %d", (unsigned long long)result.executions,
		       result.violated);
		for (uint32_t i = 0; (outcome = outcome_get(i)); i++)
			printf(" %s", outcome);
		printf("\n");
		(void)fflush(stdout);
	}
	return 0;
}

static bool run(const struct classic *classic, int number)
{
	struct litmus litmus = {
		.program = { .name = classic->name },
		.executions = classic->executions,
		.violation = classic->violation,
		.outcomes = classic->outcomes,
	};
	bool right;

	prepare(&litmus.program, classic->text);
	right = litmus_run(&litmus, number);
	if (!right)
		printf("# %s\n", classic->text);
	return right;
}

int classic_main(const struct classic *all, size_t count, int argc, char **argv)
{
	int failed = 0, number = 0;

	if (argc == 2 && !strcmp(argv[1], "--lines"))
		return run_lines();
	for (size_t i = 0; i < count; i++) {
		if (litmus_is_asked_for(all[i].name, argc, argv))
			failed += !run(&all[i], ++number);
	}
	printf("1..%d\n", number);
	return failed || !number;
}
