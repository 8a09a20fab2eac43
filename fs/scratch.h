/*
 * Memory for data on its way from a file to the kernel, where it cannot go by a pipe: for O_DIRECT,
 * and where there are no pipes to be had. Each thread keeps its own: to map it anew means a page
 * fault for each page, which in a virtual machine takes longer than the data.
 */
#pragma once

#include "channel.h"

#define SCRATCH_SIZE CHANNEL_MAX_WRITE

/* The calling thread's, until it ends: SCRATCH_SIZE bytes at a page. NULL without memory. */
char *scratch_get(void);
