/* Reading to the end of what another process writes. */
#pragma once

#include "util.h"

/*
 * Reads from fd until its end or until size bytes are there, over interruptions. Blocks as read(2)
 * does. Returns how many there are; -errno when a read failed, and then what came before is lost.
 */
ssize_t input_read(int fd, void *ret_data, size_t size);
