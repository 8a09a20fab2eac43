/* The private mount namespace. For staging/, and for cli/doctor_checks_calls.c, which tries it. */
#pragma once

#include "base/util.h"

/*
 * Moves the calling process, which must have one thread, into a mount namespace of its own whose
 * only mount is an empty tmpfs. Open fds still reach the old namespace. Needs CAP_SYS_ADMIN, and
 * CAP_SYS_CHROOT where pivot_root(2) is refused (docker's seccomp profile). Returns 0 or -errno.
 */
int namespace_enter(void);

/* Moves it into one that was made so. Needs CAP_SYS_CHROOT. Returns 0 or -errno. */
int namespace_join(int fd);
