#include "modules/modules.h"

void modules_open(ev_loop *loop) { (void)loop; }

void modules_close(ev_loop *loop) { (void)loop; }

void modules_print_versions(void) {}
