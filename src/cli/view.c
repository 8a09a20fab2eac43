#include "cli/view.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>

#include "cli/output.h"

/*
 * The view itself may be dead, or its directory missing: only what is above is resolved. Before the
 * first start of a daemon that may be missing, too.
 */
static int resolve(const char *path, char **ret_path)
{
	char directory[PATH_MAX];
	char name[PATH_MAX];
	_cleanup_free_ char *above = NULL;

	if (!STR_COPY(directory, path) || !STR_COPY(name, path))
		return -ENAMETOOLONG;
	above = realpath(dirname(directory), NULL);
	if (!above && errno == ENOENT && *path == '/') {
		*ret_path = strdup(path);
		return *ret_path ? 0 : -ENOMEM;
	}
	if (!above)
		return -errno;
	if (asprintf(ret_path, "%s/%s", streq(above, "/") ? "" : above, basename(name)) < 0)
		return -ENOMEM;
	return 0;
}

enum exit_status view_path(const struct arguments *args, char **ret_path)
{
	const char *path = arguments_value(args, "view");
	int r = resolve(path ? path : VIEW_DEFAULT, ret_path);

	if (r == 0)
		return EXIT_DONE;
	error_print(args->command, "%s: %s", QUOTE(path ? path : VIEW_DEFAULT), error_text(-r));
	return EXIT_FAILED;
}
