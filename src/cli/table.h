/* Aligned columns for people. */
#pragma once

#include <stdio.h>

#include "base/util.h"

struct table_column {
	const char *title;
	bool right; /* numbers: aligned at the right */
};

struct table;

/* columns (borrowed) end with a NULL title. Returns 0 or -ENOMEM. */
int table_new(const struct table_column *columns, struct table **ret_table);
struct table *table_free(struct table *table);
static inline void table_freep(struct table **table)
{
	*table = table_free(*table);
}

/* Adds a row; one text for each column, NULL as "". Texts are copied and made safe for a terminal.
 * Returns 0 or -ENOMEM. */
int table_add(struct table *table, const char *const *texts);

/* Prints titles and rows; columns in which every row is empty are left out. */
void table_print(const struct table *table, FILE *out);
