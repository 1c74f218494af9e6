/* SPDX-License-Identifier: MIT */
/* server_host.c - whose name did the browser ask for? */
#include "server_host.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* Of a name in the DNS, and the null. */
#define NAME_SIZE 256

/* Without the port, and the brackets.  Return: 0 if it has no such form. */
static int copy_name(const char *host, char name[static NAME_SIZE])
{
	int bracket = host[0] == '[';
	size_t length = strcspn(host += bracket, bracket ? "]" : ":");
	const char *rest = host + length;

	if (length == 0 || length >= NAME_SIZE)
		return 0;
	if (bracket && *rest++ != ']')
		return 0;
	if (*rest == ':')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (*rest)
		return 0;
	memcpy(name, host, length);
	name[length] = '\0';
	return 1;
}

static int is_address(const char *name)
{
	struct in6_addr address; /* has room for both */

	return inet_pton(AF_INET, name, &address) == 1 ||
	       inet_pton(AF_INET6, name, &address) == 1;
}

static int is_this_host(const char *name)
{
	char ours[NAME_SIZE] = "";

	/* If it is cut, it is not the one. */
	if (gethostname(ours, sizeof(ours) - 1) != 0)
		return 0;
	return strcasecmp(name, ours) == 0;
}

int server_host_is_ours(const char *host, const char *name)
{
	char asked[NAME_SIZE];

	if (!host)
		return 1;
	if (!copy_name(host, asked))
		return 0;
	return is_address(asked) || strcasecmp(asked, "localhost") == 0 ||
	       strcasecmp(asked, name) == 0 || is_this_host(asked);
}
