/*
 * The file that remembers who owns a contested name. Text, one record a line; every field is
 * percent-encoded, so that no label can break it. A last line counts the records, so that a file
 * cut short is told from a whole one.
 */
#pragma once

#include "base/limits.h"
#include "base/list.h"

#define LIMIT_IDENTITY 512 /* bytes of an identity, without the NUL; longer ones are cut */

/* An identity that took part in a contest for a base name, and the name that it got for good. */
struct name_record {
	struct list link;
	char base[LIMIT_NAME + 1];
	char name[LIMIT_NAME + 1];
	char identity[LIMIT_IDENTITY + 1];
};

/*
 * Appends the records of the file "names" in dir_fd to the list, oldest first, at most
 * LIMIT_NAME_RECORDS. Returns 0 (also without a file), -EBADMSG for a damaged file (then nothing
 * is appended), or -errno.
 */
int names_store_load(int dir_fd, struct list *records);

/* Replaces the file by one with these records: it is never half written. Returns 0 or -errno. */
int names_store_save(int dir_fd, const struct list *records);

/* Frees all records of a list. */
void names_store_free(struct list *records);
