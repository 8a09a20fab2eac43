/* Filling the reply of READDIR and READDIRPLUS, for the root and for real directories alike. */
#pragma once

#include "fs/wire.h"

struct dirent_buffer {
	char *data;
	size_t size;
	size_t used;
	bool plus;
};

/*
 * Adds one entry; with plus, entry must be set (node id 0: name only). next: the offset to go on
 * from after this entry. Returns false when it does not fit.
 */
bool dirent_add(struct dirent_buffer *buf, const char *name, uint64_t ino, uint32_t type,
		uint64_t next, const struct fuse_entry_out *entry);
/* Whether an entry with a name of this length would fit. */
bool dirent_fits(const struct dirent_buffer *buf, size_t name_length);
