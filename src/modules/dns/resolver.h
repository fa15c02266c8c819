/* The resolver of the process, for modules.c. It opens itself at its first use. */
#ifndef LINKS_MODULES_DNS_RESOLVER_H
#define LINKS_MODULES_DNS_RESOLVER_H

/* Ends it; the VM is closed by then. Harmless where it was never used. */
void dns_close(void);

/* Prints a line with the version of c-ares. */
void dns_print_version(void);

#endif
