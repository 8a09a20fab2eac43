/* SPDX-License-Identifier: Apache-2.0 */
/* All kinds of calls, numbered through. */
#include "difftest.h"

#include <err.h>

static const struct kind_set *const sets[] = {
	&kinds_open, &kinds_data, &kinds_space, &kinds_stat, &kinds_attr,
	&kinds_name, &kinds_dir,  &kinds_xattr, &kinds_lock,
};

unsigned int kind_count(void)
{
	unsigned int n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
		n += sets[i]->n;
	return n;
}

const struct kind *kind_at(unsigned int i)
{
	size_t s = 0;

	while (i >= sets[s]->n)
		i -= sets[s++]->n;
	return &sets[s]->kinds[i];
}

int kind_lookup(const char *name)
{
	for (unsigned int i = 0; i < kind_count(); i++)
		if (strcmp(kind_at(i)->name, name) == 0)
			return (int)i;
	return -1;
}

unsigned int kind_find(const char *name)
{
	int i = kind_lookup(name);

	if (i < 0)
		errx(2, "no kind is called %s", name);
	return (unsigned int)i;
}
