/* The private mount namespace. Internal to staging/. */
#pragma once

#include "base/util.h"

/*
 * Moves the calling process, which must have one thread, into a mount namespace of its own whose
 * only mount is an empty tmpfs. Open fds still reach the old namespace. Returns 0 or -errno.
 */
int namespace_enter(void);

/* Moves it into one that was made so. Needs CAP_SYS_CHROOT. Returns 0 or -errno. */
int namespace_join(int fd);
