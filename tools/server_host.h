/* SPDX-License-Identifier: MIT */
/*
 * server_host.h - whose name did the browser ask for?
 *
 * A page of somebody else's whose name is made to mean our address (DNS
 * rebinding) has a browser read what we serve, and hand it on.  Its requests
 * have that other name in Host, and are refused.
 */
#ifndef SERVER_HOST_H
#define SERVER_HOST_H

/*
 * server_host_is_ours() - an address, localhost, this host's name, or @name
 * @host: the value of the header, with or without a port; NULL: there was none,
 *        and so it was no browser
 * @name: the ADDR of ADDR:PORT
 */
int server_host_is_ours(const char *host, const char *name);

#endif
