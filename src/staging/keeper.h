/* The process that lives in the staging namespace and forks its children. Internal to staging/. */
#pragma once

#include <sys/types.h>

#include "base/util.h"

/*
 * Forks the keeper and waits until it has made the namespace, or has entered that of namespace_fd
 * (not negative; borrowed), which takes CAP_SYS_CHROOT. dev_fd is borrowed.
 * ret_sock: where struct staging_request packets are sent; closing it ends the keeper.
 * Returns 0 or -errno; the child is then reaped.
 */
int keeper_start(int dev_fd, int namespace_fd, pid_t *ret_pid, int *ret_sock);
