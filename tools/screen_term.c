/* SPDX-License-Identifier: MIT */
/*
 * screen_term.c - the terminal: taken, read, coloured, and given back
 *
 * Signals.  SIGINT and SIGTERM are interrupt.c's, blocked everywhere, so that
 * curses' own handlers for them never run.  SIGWINCH, SIGTSTP and SIGCONT may
 * come to any thread, so their handlers only write a byte to a pipe, and
 * curses, which finds handlers there, installs none.  Signals that would end us
 * with the terminal as it is give it back first, by what a handler may do:
 * tcsetattr(3) and write(2) of a string that was made at open.
 */
#include "screen_term.h"

#include <curses.h>
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>

#include "interrupt.h"
#include "tool.h"

#define ESCAPE_MS 25
#define RESTORE_MAX 256u

enum colours { MONO, FEW, MANY };

static const int caught[] = { SIGWINCH, SIGTSTP, SIGCONT, SIGHUP, SIGQUIT,
			      SIGABRT,	SIGSEGV, SIGBUS,  SIGFPE, SIGILL };
#define NCAUGHT (sizeof(caught) / sizeof(caught[0]))

static struct {
	SCREEN *screen;
	FILE *keys; /* where they come from, unless it is stdin */
	int epoll_fd, pipe[2];
	struct sigaction before[NCAUGHT];
	enum colours colours;
	bool utf8;

	/* For the handlers; constant while restore_length is not 0. */
	struct termios termios;
	pid_t owner;
	char restore[RESTORE_MAX];
	size_t restore_length;

	int stderr_copy, stderr_file; /* -1: it is not taken */
} term = {
	.epoll_fd = -1, .pipe = { -1, -1 }, .stderr_copy = -1, .stderr_file = -1
};

/* ---- what is there ---- */

static int size_of_terminal(int *ret_width, int *ret_height)
{
	struct winsize size;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col &&
	    size.ws_row) {
		*ret_width = size.ws_col;
		*ret_height = size.ws_row;
		return 0;
	}
	*ret_width = tigetnum("cols");
	*ret_height = tigetnum("lines");
	return *ret_width > 0 && *ret_height > 0 ? 0 : -ENOTTY;
}

/* Of the terminal that is known by that name. */
static int check_known(const char *name)
{
	const char *move = tigetstr("cup");
	int width, height;

	if (!move || move == (char *)-1)
		return tool_error("the terminal '%.40s' cannot move its cursor:"
				  " no terminal view; --json, or a pipe, does "
				  "without",
				  name);
	if (size_of_terminal(&width, &height))
		return tool_error("the terminal does not say how large it is");
	if (width < TERM_COLUMNS_MIN || height < TERM_ROWS_MIN)
		return tool_error("the terminal has %d columns and %d rows, "
				  "and the view needs %d and %d; --json, or a "
				  "pipe, does without",
				  width, height, TERM_COLUMNS_MIN,
				  TERM_ROWS_MIN);
	return -1;
}

int term_check(void)
{
	const char *name = getenv("TERM");
	int known, status;

	if (!name || !name[0])
		return tool_error("TERM is not set: no terminal view; --json, "
				  "or a pipe, does without");
	if (setupterm(NULL, STDOUT_FILENO, &known) != OK)
		return tool_error("the terminal '%.40s' is unknown: no terminal"
				  " view; --json, or a pipe, does without",
				  name);
	status = check_known(name);
	(void)del_curterm(cur_term); /* newterm() makes its own */
	return status;
}

/* ---- given back, in a hurry ---- */

static int keep_byte(int byte)
{
	if (term.restore_length < sizeof(term.restore))
		term.restore[term.restore_length++] = (char)byte;
	return byte;
}

static void keep_string(const char *name)
{
	const char *text = tigetstr(name);

	if (text && text != (char *)-1)
		(void)tputs(text, 1, keep_byte);
}

/* Anywhere: in handlers, and in the thread that is about to end us. */
static void restore(void)
{
	if (!term.restore_length || getpid() != term.owner)
		return;
	(void)!write(STDOUT_FILENO, term.restore, term.restore_length);
	(void)tcsetattr(STDOUT_FILENO, TCSANOW, &term.termios);
}

static void on_event(int number)
{
	int error = errno;
	char byte = (char)number;

	if (getpid() == term.owner) /* not a child that has not executed yet */
		(void)!write(term.pipe[1], &byte, 1);
	errno = error;
}

/* The handler is gone by now (SA_RESETHAND). */
static void on_end(int number)
{
	restore();
	(void)raise(number);
}

static void catch_signals(void)
{
	for (size_t i = 0; i < NCAUGHT; i++) {
		int event = caught[i] == SIGWINCH || caught[i] == SIGTSTP ||
			    caught[i] == SIGCONT;
		struct sigaction action = {
			.sa_handler = event ? on_event : on_end,
			.sa_flags = event ? SA_RESTART
					  : (int)(SA_RESETHAND | SA_NODEFER),
		};

		(void)sigaction(caught[i], NULL, &term.before[i]);
		/* nohup(1), and a shell without job control */
		if (term.before[i].sa_handler != SIG_IGN)
			(void)sigaction(caught[i], &action, NULL);
	}
}

static void release_signals(void)
{
	for (size_t i = 0; i < NCAUGHT; i++)
		(void)sigaction(caught[i], &term.before[i], NULL);
}

/* ---- stderr ---- */

/* If it is this terminal: messages would be all over it. */
static void take_stderr(void)
{
	if (!isatty(STDERR_FILENO))
		return;
	term.stderr_file = memfd_create("stderr", MFD_CLOEXEC);
	term.stderr_copy = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (term.stderr_file >= 0 && term.stderr_copy >= 0)
		(void)dup2(term.stderr_file, STDERR_FILENO);
}

int term_said(void)
{
	struct stat stat;

	if (term.stderr_file < 0 || fstat(term.stderr_file, &stat) ||
	    !stat.st_size)
		return -1;
	return term.stderr_file;
}

static void give_stderr_back(void)
{
	char text[4096];
	ssize_t n;

	if (term.stderr_copy >= 0 && term.stderr_file >= 0) {
		(void)fflush(stderr);
		(void)dup2(term.stderr_copy, STDERR_FILENO);
		(void)lseek(term.stderr_file, 0, SEEK_SET);
		while ((n = read(term.stderr_file, text, sizeof(text))) > 0)
			(void)!write(STDERR_FILENO, text, (size_t)n);
	}
	if (term.stderr_copy >= 0)
		close(term.stderr_copy);
	if (term.stderr_file >= 0)
		close(term.stderr_file);
	term.stderr_copy = term.stderr_file = -1;
}

/* ---- colours ---- */

#define PAIR_HEAT 1 /* and a mark at the beginning of a mapping */
#define PAIR_CURSOR (PAIR_HEAT + TERM_HEAT_LEVELS)
#define PAIR_CHOSEN (PAIR_CURSOR + TERM_HEAT_LEVELS) /* but never written */
#define PAIR_STYLE (PAIR_CHOSEN + 1)

/* Of 256, darker to brighter. */
static const int heat_many[TERM_HEAT_LEVELS] = { 236, 18,  54,	90,  126,
						 161, 196, 202, 214, 228 };
/* Of 8: characters say more. */
static const int heat_few[TERM_HEAT_LEVELS] = {
	COLOR_BLUE,  COLOR_BLUE,   COLOR_BLUE,	 COLOR_CYAN, COLOR_CYAN,
	COLOR_GREEN, COLOR_YELLOW, COLOR_YELLOW, COLOR_RED,  COLOR_RED,
};
static const char *const heat_text[TERM_HEAT_LEVELS] = {
	".", ",", ":", "-", "=", "+", "*", "o", "#", "@",
};

static const struct {
	int many[2], few[2]; /* foreground, background; -1: the terminal's */
	attr_t mono, all;
} styles[STYLE_COUNT] = {
	[STYLE_PLAIN] = { { -1, -1 }, { -1, -1 }, 0, 0 },
	[STYLE_BAR] = { { 255, 24 },
			{ COLOR_WHITE, COLOR_BLUE },
			A_REVERSE,
			0 },
	[STYLE_HEAD] = { { 252, 238 },
			 { COLOR_CYAN, -1 },
			 A_UNDERLINE,
			 A_BOLD },
	[STYLE_FOCUS] = { { 16, 80 },
			  { COLOR_BLACK, COLOR_CYAN },
			  A_REVERSE,
			  A_BOLD },
	[STYLE_DIM] = { { 244, -1 }, { -1, -1 }, 0, 0 },
	[STYLE_STRONG] = { { -1, -1 }, { -1, -1 }, 0, A_BOLD },
	[STYLE_GRAPH] = { { 208, -1 }, { COLOR_YELLOW, -1 }, 0, 0 },
	[STYLE_SELECTED] = { { 255, 60 },
			     { COLOR_BLACK, COLOR_WHITE },
			     A_REVERSE,
			     0 },
	[STYLE_WARNING] = { { 231, 160 },
			    { COLOR_WHITE, COLOR_RED },
			    A_REVERSE,
			    A_BOLD },
};

static void set_pair(int pair, int foreground, int background)
{
	(void)init_pair((short)pair, (short)foreground, (short)background);
}

static void start_colours(void)
{
	term.colours = MONO;
	if (!has_colors() || start_color() == ERR)
		return;
	(void)use_default_colors();
	if (COLORS >= 256 && COLOR_PAIRS > PAIR_STYLE + STYLE_COUNT)
		term.colours = MANY;
	else if (COLORS >= 8 && COLOR_PAIRS > PAIR_STYLE + STYLE_COUNT)
		term.colours = FEW;
	for (int i = 0; i < TERM_HEAT_LEVELS; i++) {
		int bg = term.colours == MANY ? heat_many[i] : -1;
		int fg = term.colours == MANY ? 246 : heat_few[i];

		set_pair(PAIR_HEAT + i, fg, bg);
		if (term.colours == MANY)
			fg = i < 7 ? 231 : 16;
		set_pair(PAIR_CURSOR + i, fg, bg);
	}
	if (term.colours == MANY)
		set_pair(PAIR_CHOSEN, 250, 240);
	for (int i = 0; i < STYLE_COUNT; i++) {
		const int *pair =
			term.colours == MANY ? styles[i].many : styles[i].few;

		set_pair(PAIR_STYLE + i, pair[0], pair[1]);
	}
}

void term_style(enum term_style style)
{
	attr_t attributes = styles[style].all;

	if (term.colours == MONO)
		(void)attr_set(attributes | styles[style].mono, 0, NULL);
	else
		(void)attr_set(attributes, (short)(PAIR_STYLE + (int)style),
			       NULL);
}

const char *term_heat(int level, enum term_mark mark, bool selected)
{
	attr_t attributes = mark == MARK_CURSOR ? A_REVERSE : 0;

	if (term.colours == MANY) {
		short pair = (short)(PAIR_HEAT + level);

		if (mark == MARK_CURSOR)
			pair = (short)(PAIR_CURSOR + level);
		else if (!level && selected)
			pair = PAIR_CHOSEN;
		(void)attr_set(mark == MARK_CURSOR ? A_BOLD : 0, pair, NULL);
		if (mark == MARK_CURSOR)
			return term.utf8 ? "◆" : "X";
		if (mark == MARK_BEGIN)
			return term.utf8 ? "▏" : "|";
		return " ";
	}
	if (mark == MARK_BEGIN)
		attributes |= A_UNDERLINE;
	if (level == TERM_HEAT_LEVELS - 1 || selected)
		attributes |= A_BOLD;
	(void)attr_set(attributes,
		       term.colours == FEW ? (short)(PAIR_HEAT + level) : 0,
		       NULL);
	return heat_text[level];
}

const struct term_glyphs *term_glyphs(void)
{
	static const char *const bars[] = { " ", "▁", "▂", "▃", "▄",
					    "▅", "▆", "▇", "█" };
	static const char *const ascii_bars[] = { " ", ".", ".", ".", ":",
						  ":", ":", "|", "|" };
	static const struct term_glyphs wide = { "…", "·", "×", bars };
	static const struct term_glyphs ascii = { "~", "-", "x", ascii_bars };

	return term.utf8 ? &wide : &ascii;
}

/* ---- open, close ---- */

static int open_events(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int keys = term.keys ? fileno(term.keys) : STDIN_FILENO;

	term.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (term.epoll_fd < 0 || pipe2(term.pipe, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	event.data.fd = keys;
	if (epoll_ctl(term.epoll_fd, EPOLL_CTL_ADD, keys, &event))
		return -errno;
	event.data.fd = term.pipe[0];
	if (epoll_ctl(term.epoll_fd, EPOLL_CTL_ADD, term.pipe[0], &event))
		return -errno;
	return 0;
}

static void close_events(void)
{
	int *const fds[] = { &term.epoll_fd, &term.pipe[0], &term.pipe[1] };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	if (term.keys)
		(void)fclose(term.keys);
	term.keys = NULL;
}

static void prepare_restore(void)
{
	static const char *const names[] = { "sgr0", "op", "rmkx", "cnorm",
					     "rmcup" };

	term.restore_length = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		keep_string(names[i]);
	(void)keep_byte('\r');
	(void)keep_byte('\n');
	term.owner = getpid();
}

int term_open(void)
{
	int err;

	/* Keys are not what is redirected. */
	if (!isatty(STDIN_FILENO)) {
		term.keys = fopen("/dev/tty", "r+e");
		if (!term.keys)
			return tool_error("/dev/tty: %s", strerror(errno));
	}
	(void)setlocale(LC_CTYPE, "");
	term.utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	err = open_events();
	if (err || tcgetattr(STDOUT_FILENO, &term.termios)) {
		err = err ? err : -errno;
		close_events();
		return tool_error("the terminal: %s", strerror(-err));
	}
	(void)fflush(stdout);
	catch_signals();
	(void)set_escdelay(ESCAPE_MS);
	term.screen = newterm(NULL, stdout, term.keys ? term.keys : stdin);
	if (!term.screen) {
		release_signals();
		close_events();
		return tool_error("the terminal cannot be used for a screen");
	}
	prepare_restore();
	interrupt_restores(restore);
	take_stderr();
	(void)cbreak();
	(void)noecho();
	(void)nonl();
	(void)keypad(stdscr, TRUE);
	(void)nodelay(stdscr, TRUE);
	(void)curs_set(0);
	start_colours();
	return -1;
}

void term_close(void)
{
	if (!term.screen)
		return;
	(void)endwin();
	interrupt_restores(NULL);
	term.restore_length = 0;
	release_signals();
	delscreen(term.screen);
	term.screen = NULL;
	close_events();
	give_stderr_back();
}

/* ---- events ---- */

int term_fd(void)
{
	return term.epoll_fd;
}

static void take_size(void)
{
	int width, height;

	if (!size_of_terminal(&width, &height))
		(void)resizeterm(height, width);
	(void)clearok(curscr, TRUE);
}

/* As the shell's user wants it: until somebody continues us. */
static void stop(void)
{
	(void)def_prog_mode();
	(void)endwin();
	(void)raise(SIGSTOP);
}

static bool terminal_is_gone(void)
{
	struct epoll_event events[2];
	int n = epoll_wait(term.epoll_fd, events, 2, 0);

	for (int i = 0; i < n; i++) {
		if (events[i].data.fd != term.pipe[0] &&
		    (events[i].events & (EPOLLHUP | EPOLLERR)))
			return true;
	}
	return false;
}

int term_next(void)
{
	char number;
	int key;

	while (read(term.pipe[0], &number, 1) == 1) {
		if (number == SIGTSTP) {
			stop();
			continue;
		}
		if (number == SIGCONT)
			(void)reset_prog_mode();
		take_size();
		return KEY_RESIZE;
	}
	key = getch();
	if (key != ERR)
		return key;
	return terminal_is_gone() ? TERM_GONE : TERM_NOTHING;
}
