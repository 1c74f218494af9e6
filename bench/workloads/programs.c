/* SPDX-License-Identifier: MIT */
/*
 * programs.c - programs that people run, with something to do
 *
 * They find nothing in the file system but what they are given here, in a file
 * without a name where that is possible.
 */
#include "workloads.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FUNCTIONS 8000u
#define TEXT_BYTES ((size_t)192 << 20)

/* @input: its stdin; -1: nothing.  Return: its pid; -1: @what is missing. */
static pid_t run(char *const *argv, int input)
{
	int done[2];
	char byte;
	ssize_t n;
	pid_t pid;

	if (pipe2(done, O_CLOEXEC))
		return -1;
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		sigset_t none;

		(void)sigemptyset(&none);
		(void)sigprocmask(SIG_SETMASK, &none, NULL);
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (dup2(input < 0 ? null : input, 0) == 0 &&
		    dup2(null, 1) == 1 && dup2(null, 2) == 2)
			execvp(argv[0], argv);
		(void)!write(done[1], "x", 1);
		_exit(127);
	}
	close(done[1]);
	/* The end of exec closes the pipe. */
	n = pid > 0 ? read(done[0], &byte, 1) : 1;
	close(done[0]);
	return n ? -1 : pid;
}

static int run_or_say(pid_t *ret, char *const *argv, int input,
		      const char **what)
{
	*ret = run(argv, input);
	if (*ret > 0)
		return 0;
	*ret = 0;
	*what = argv[0];
	return -ENOENT;
}

/* ---- redis ---- */

static void wait_for_file(const char *name)
{
	const struct timespec nap = { .tv_nsec = 10000000 };
	struct stat about;

	for (int i = 0; i < 500 && stat(name, &about); i++)
		(void)nanosleep(&nap, NULL);
}

int program_redis(struct running *running, const char **what)
{
	char *server[] = { (char[]){ "redis-server" },
			   (char[]){ "--port" },
			   (char[]){ "0" },
			   (char[]){ "--unixsocket" },
			   running->file,
			   (char[]){ "--save" },
			   (char[]){ "" },
			   NULL };
	char *client[] = { (char[]){ "redis-benchmark" },
			   (char[]){ "-s" },
			   running->file,
			   (char[]){ "-t" },
			   (char[]){ "set" },
			   (char[]){ "-r" },
			   (char[]){ "100000" },
			   (char[]){ "-d" },
			   (char[]){ "512" },
			   (char[]){ "-c" },
			   (char[]){ "8" },
			   (char[]){ "-n" },
			   (char[]){ "2000000000" },
			   NULL };
	int err;

	(void)snprintf(running->file, sizeof(running->file),
		       "/tmp/tidemark-bench-%d.sock", (int)getpid());
	(void)unlink(running->file);
	err = run_or_say(&running->pid, server, -1, what);
	if (err)
		return err;
	wait_for_file(running->file);
	err = run_or_say(&running->helper, client, -1, what);
	if (err)
		workload_stop(running);
	return err;
}

/* ---- the compiler: what the driver would run, since it is one process ---- */

static void write_source(FILE *to)
{
	for (unsigned int i = 0; i < FUNCTIONS; i++) {
		fprintf(to,
			"int f%u(int a, int b, int *p)\n{\n\tint s = a;\n"
			"\tfor (int i = 0; i < b; i++) {\n"
			"\t\tswitch ((p[i] + %u) %% 7) {\n",
			i, i);
		for (unsigned int k = 0; k < 7; k++)
			fprintf(to,
				"\t\tcase %u:\n\t\t\ts += p[i * %u] * %u;\n"
				"\t\t\tif (s > %u)\n\t\t\t\ts ^= p[s & %u];\n"
				"\t\t\tbreak;\n",
				k, k + 2, (i * 7 + k) % 99, i * 13 + k,
				(i + k * 3) % 255);
		fprintf(to, "\t\t}\n\t\tp[i] = s * (a + i);\n\t}\n"
			    "\treturn s;\n}\n");
	}
}

int program_compiler(struct running *running, const char **what)
{
	char path[4096] = "";
	char *cc1[] = { path,
			(char[]){ "-quiet" },
			(char[]){ "-O2" },
			(char[]){ "-" },
			(char[]){ "-o" },
			(char[]){ "/dev/null" },
			NULL };
	/* NOLINTNEXTLINE(cert-env33-c): a fixed command */
	FILE *ask = popen("gcc -print-prog-name=cc1 2>/dev/null", "re");
	FILE *source = NULL;
	int err;

	*what = "gcc";
	if (!ask)
		return -errno;
	if (fgets(path, sizeof(path), ask))
		path[strcspn(path, "\n")] = '\0';
	(void)pclose(ask);
	if (path[0] != '/')
		return -ENOENT;
	source = tmpfile();
	if (!source)
		return -errno;
	write_source(source);
	rewind(source);
	err = run_or_say(&running->pid, cc1, fileno(source), what);
	(void)fclose(source);
	return err;
}

/* ---- scripts ---- */

static int run_python(struct running *running, const char *script,
		      const char **what)
{
	char *python[] = { (char[]){ "/usr/bin/python3" }, (char[]){ "-c" },
			   strdup(script), NULL };
	int err = python[2] ? run_or_say(&running->pid, python, -1, what)
			    : -ENOMEM;

	free(python[2]);
	return err;
}

int program_sqlite(struct running *running, const char **what)
{
	return run_python(
		running,
		"import random, sqlite3, time\n"
		"base = sqlite3.connect('')\n"
		"base.execute('pragma cache_size = -80000')\n"
		"base.execute('pragma journal_mode = off')\n"
		"base.execute('create table t (k integer primary key, v)')\n"
		"def put(n):\n"
		"    base.executemany('insert or replace into t values (?, ?)',"
		" [(random.randrange(150000), 'x' * random.randrange(400))"
		" for _ in range(n)])\n"
		"    base.commit()\n"
		"put(300000)\n"
		"while True:\n"
		"    put(200)\n"
		"    time.sleep(0.05)\n",
		what);
}

int program_json(struct running *running, const char **what)
{
	return run_python(
		running,
		"import json, random, time\n"
		"rows = [{'id': i, 'name': 'row %d' % i, 'at': random.random()}"
		" for i in range(60000)]\n"
		"while True:\n"
		"    text = json.dumps(rows)\n"
		"    rows = json.loads(text)\n"
		"    rows.sort(key=lambda row: row['at'])\n"
		"    for row in rows[:3000]:\n"
		"        row['at'] = random.random()\n"
		"    time.sleep(0.1)\n",
		what);
}

/* ---- xz ---- */

/* Words, so that there is something to find, and to forget. */
static int make_text(void)
{
	int fd = memfd_create("text", MFD_CLOEXEC);
	uint64_t random = 1;
	char *text;

	if (fd < 0 || ftruncate(fd, (off_t)TEXT_BYTES))
		return fd;
	text = mmap(NULL, TEXT_BYTES, PROT_WRITE, MAP_SHARED, fd, 0);
	if (text == MAP_FAILED)
		return fd;
	for (size_t i = 0; i < TEXT_BYTES; i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		text[i] = (char)(random >> 61 ? 'a' + (random >> 40) % 8 : ' ');
	}
	munmap(text, TEXT_BYTES);
	return fd;
}

int program_xz(struct running *running, const char **what)
{
	char *xz[] = { (char[]){ "xz" }, (char[]){ "-6" }, (char[]){ "-T1" },
		       (char[]){ "-c" }, NULL };
	int input = make_text();
	int err = run_or_say(&running->pid, xz, input, what);

	if (input >= 0)
		close(input);
	return err;
}

/* ---- a virtual machine ---- */

int program_guest(struct running *running, const char **what)
{
	char *vm[] = { (char[]){ "/proc/self/exe" }, (char[]){ "vm" },
		       (char[]){ "--memory" },	     (char[]){ "96M" },
		       (char[]){ "--workload" },     (char[]){ "walker" },
		       (char[]){ "--quiet" },	     NULL };

	return run_or_say(&running->pid, vm, -1, what);
}
