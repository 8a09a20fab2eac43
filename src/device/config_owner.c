#include <ctype.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>

#include "device/config.h"

#define LOOKUP_BUFFER 65536 /* the fields of one entry of the user database */

static bool parse_id(const char *text, uint32_t *ret_id)
{
	unsigned long long id;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	id = strtoull(text, &end, 10);
	if (errno != 0 || *end || id >= UINT32_MAX) /* the last one means "no id" everywhere */
		return false;
	*ret_id = (uint32_t)id;
	return true;
}

/* The entry of a user, by name, or by number if it is one. */
static bool find_user(const char *text, struct owner *owner)
{
	_cleanup_free_ char *buf = malloc(LOOKUP_BUFFER);
	struct passwd entry, *found = NULL;
	uint32_t uid;
	bool numeric = parse_id(text, &uid);

	if (buf && numeric)
		(void)getpwuid_r(uid, &entry, buf, LOOKUP_BUFFER, &found);
	else if (buf)
		(void)getpwnam_r(text, &entry, buf, LOOKUP_BUFFER, &found);
	if (!found && !numeric)
		return false;
	/* a number without an entry has no group of its own: the same number, as useradd does */
	owner->uid = found ? found->pw_uid : uid;
	owner->gid = found ? found->pw_gid : uid;
	return true;
}

static bool find_group(const char *text, uint32_t *ret_gid)
{
	_cleanup_free_ char *buf = malloc(LOOKUP_BUFFER);
	struct group entry, *found = NULL;

	if (parse_id(text, ret_gid))
		return true;
	if (buf)
		(void)getgrnam_r(text, &entry, buf, LOOKUP_BUFFER, &found);
	if (found)
		*ret_gid = found->gr_gid;
	return found;
}

int owner_parse(const char *text, struct owner *ret_owner, char *error, size_t error_size)
{
	struct owner owner = {.set = true};
	const char *colon = strchr(text, ':');
	char user[256];

	if (!str_copy(user, colon ? MIN((size_t)(colon - text) + 1, sizeof(user)) : sizeof(user),
		      text) &&
	    !colon)
		user[0] = '\0';
	if (!find_user(user, &owner)) {
		(void)snprintf(error, error_size, "no user %s; a name or a number is needed",
			       QUOTE(user));
		return -EINVAL;
	}
	if (colon && !find_group(colon + 1, &owner.gid)) {
		(void)snprintf(error, error_size, "no group %s; a name or a number is needed",
			       QUOTE(colon + 1));
		return -EINVAL;
	}
	*ret_owner = owner;
	return 0;
}
