#include "programs.h"

#include <stdio.h>

static const char *const never[] = {
	"sync", "dirsync", "force", "dev", "suid",
};

/* The next option of a comma separated list, not terminated; NULL at the end. */
static const char *next_option(const char **list, size_t *ret_len)
{
	const char *start;

	*list += strspn(*list, ",");
	if (!**list)
		return NULL;
	start = *list;
	*ret_len = strcspn(start, ",");
	*list += *ret_len;
	return start;
}

static size_t name_length(const char *option, size_t len)
{
	const char *equals = memchr(option, '=', len);

	return equals ? (size_t)(equals - option) : len;
}

static bool list_has(const char *list, const char *name, size_t name_len)
{
	const char *option;
	size_t len;

	while ((option = next_option(&list, &len)))
		if (name_length(option, len) == name_len && memcmp(option, name, name_len) == 0)
			return true;
	return false;
}

static bool is_printable(const char *option, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (option[i] <= ' ' || option[i] > '~' || option[i] == '\\' || option[i] == '"')
			return false;
	return true;
}

static bool is_allowed(const struct driver *driver, const char *option, size_t len)
{
	size_t name_len = name_length(option, len);

	if (!is_printable(option, len))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		if (strlen(never[i]) == name_len && memcmp(never[i], option, name_len) == 0)
			return false;
	return list_has(driver->allowed, option, name_len);
}

static int append(char options[LIMIT_OPTIONS], const char *option, size_t len)
{
	size_t used = strlen(options);

	if (used + len + 2 > LIMIT_OPTIONS)
		return -E2BIG;
	if (used > 0)
		options[used++] = ',';
	memcpy(options + used, option, len);
	options[used + len] = '\0';
	return 0;
}

/* Adds the options of list, except those that replaced names anew. */
static int append_list(char options[LIMIT_OPTIONS], const char *list, const char *replaced)
{
	const char *option;
	size_t len;
	int r = 0;

	while (r == 0 && (option = next_option(&list, &len)))
		if (!list_has(replaced, option, name_length(option, len)))
			r = append(options, option, len);
	return r;
}

static bool is_known(const char *option, size_t len)
{
	const struct driver *driver;

	for (size_t i = 0; (driver = driver_at(i)); i++)
		if (is_allowed(driver, option, len))
			return true;
	for (size_t i = 0; (driver = program_at(i)); i++)
		if (is_allowed(driver, option, len))
			return true;
	return false;
}

int options_check(const struct driver *driver, const char *list, char *error, size_t error_size)
{
	const char *option;
	size_t len;

	while ((option = next_option(&list, &len))) {
		if (driver ? is_allowed(driver, option, len) : is_known(option, len))
			continue;
		(void)snprintf(error, error_size, "%.*s", (int)MIN(len, 64), option);
		return -EINVAL;
	}
	return 0;
}

int driver_options(const struct driver *driver, const char *extra, const struct owner *owner,
		   char ret_options[LIMIT_OPTIONS], char *error, size_t error_size)
{
	char options[LIMIT_OPTIONS] = "";
	char ids[64] = "";
	int r = options_check(driver, extra, error, error_size);

	if (r < 0)
		return r;
	if (driver->takes_owner && owner && owner->set)
		(void)snprintf(ids, sizeof(ids), "uid=%u,gid=%u", owner->uid, owner->gid);
	r = append_list(options, driver->defaults, extra);
	if (r == 0)
		r = append_list(options, extra, ids);
	if (r == 0)
		r = append_list(options, ids, "");
	if (r < 0)
		return r;
	memcpy(ret_options, options, sizeof(options));
	return 0;
}
