#include "device/names.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/list.h"
#include "base/log.h"
#include "device/names_store.h"
#include "device/names_text.h"

/* A name in use. */
struct holder {
	struct list link;
	char base[LIMIT_NAME + 1];
	char name[LIMIT_NAME + 1];
	char identity[LIMIT_IDENTITY + 1];
};

struct names {
	char *dir;  /* the state directory; NULL: none */
	int dir_fd; /* -EBADF: remember only until exit */
	struct list holders;
	struct list records; /* oldest first */
	size_t record_count;
	bool changed; /* records that are not in the file yet */
	bool told;    /* that the directory cannot be written */
};

struct names *names_free(struct names *names)
{
	if (!names)
		return NULL;
	list_for_each_safe (it, tmp, &names->holders) {
		list_remove(it);
		free(CONTAINER_OF(it, struct holder, link));
	}
	names_store_free(&names->records);
	close_fd(names->dir_fd);
	free(names->dir);
	free(names);
	return NULL;
}

static void tell_once(struct names *names, const char *what, int err)
{
	if (!names->told)
		log_warning("%s %s: %s; the owners of contested names are remembered only until "
			    "exit",
			    what, QUOTE(names->dir), strerrordesc_np(-err));
	names->told = true;
}

static void load(struct names *names)
{
	int r;

	if (mkdir(names->dir, 0755) < 0 && errno != EEXIST) {
		tell_once(names, "cannot make the state directory", -errno);
		return;
	}
	names->dir_fd = open(names->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (names->dir_fd < 0) {
		tell_once(names, "cannot open the state directory", -errno);
		return;
	}
	r = names_store_load(names->dir_fd, &names->records);
	if (r == -EBADMSG) {
		log_warning(
			"the file of contested names in %s is damaged; moved aside to names.bad",
			QUOTE(names->dir));
		(void)renameat(names->dir_fd, "names", names->dir_fd, "names.bad");
	} else if (r < 0) {
		tell_once(names, "cannot read the file of contested names in", r);
	}
	list_for_each (it, &names->records)
		names->record_count++;
}

int names_new(const char *state_dir, struct names **ret_names)
{
	struct names *names = malloc(sizeof(*names));

	if (!names)
		return -ENOMEM;
	*names = (struct names){.dir_fd = -EBADF};
	list_init(&names->holders);
	list_init(&names->records);
	if (state_dir && *state_dir) {
		names->dir = strdup(state_dir);
		if (!names->dir) {
			names_free(names);
			return -ENOMEM;
		}
		load(names);
	}
	*ret_names = names;
	return 0;
}

/* FNV-1a, 64 bits: only to look different, never to tell identities apart. */
static uint64_t hash_text(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (const char *p = text; *p; p++)
		hash = (hash ^ (uint8_t)*p) * 0x100000001b3;
	return hash;
}

/*
 * The names that an identity may get, the best first: the base, then the base with six
 * characters of the identity's hash, then the same with a number.
 */
static void candidate(const char *base, const char *identity, unsigned n,
		      char ret_name[LIMIT_NAME + 1])
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
	uint64_t hash = hash_text(identity);
	char number[16] = "";
	char tag[7] = "";

	for (size_t i = 0; i < sizeof(tag) - 1; i++, hash >>= 5)
		tag[i] = digits[hash & 31];
	if (n > 1)
		(void)snprintf(number, sizeof(number), "-%u", n);
	if (n == 0)
		(void)snprintf(ret_name, LIMIT_NAME + 1, "%s", base);
	else
		(void)snprintf(ret_name, LIMIT_NAME + 1, "%.*s-%s%s", LIMIT_NAME - NAME_SUFFIX_MAX,
			       base, tag, number);
}

static struct holder *find_holder(const struct names *names, const char *name)
{
	list_for_each (it, &names->holders) {
		struct holder *holder = CONTAINER_OF(it, struct holder, link);

		if (streq(holder->name, name))
			return holder;
	}
	return NULL;
}

/* Whom a name belongs to since an earlier contest. */
static struct name_record *find_owner(const struct names *names, const char *name)
{
	list_for_each (it, &names->records) {
		struct name_record *record = CONTAINER_OF(it, struct name_record, link);

		if (streq(record->name, name))
			return record;
	}
	return NULL;
}

/* What an identity got in an earlier contest for this base. */
static struct name_record *find_record(const struct names *names, const char *base,
				       const char *identity)
{
	list_for_each (it, &names->records) {
		struct name_record *record = CONTAINER_OF(it, struct name_record, link);

		if (streq(record->base, base) && streq(record->identity, identity))
			return record;
	}
	return NULL;
}

static int remember(struct names *names, const char *base, const char *name, const char *identity)
{
	struct name_record *record;

	if (find_record(names, base, identity))
		return 0;
	record = malloc(sizeof(*record));
	if (!record)
		return -ENOMEM;
	(void)STR_COPY(record->base, base);
	(void)STR_COPY(record->name, name);
	(void)STR_COPY(record->identity, identity);
	list_append(&names->records, &record->link);
	names->changed = true;
	if (names->record_count < LIMIT_NAME_RECORDS) {
		names->record_count++;
		return 0;
	}
	record = CONTAINER_OF(names->records.next, struct name_record, link);
	list_remove(&record->link);
	free(record);
	return 0;
}

static void save(struct names *names)
{
	int r;

	if (!names->changed || names->dir_fd < 0)
		return;
	names->changed = false;
	r = names_store_save(names->dir_fd, &names->records);
	if (r < 0)
		tell_once(names, "cannot write the file of contested names in", r);
}

static int hold(struct names *names, const char *base, const char *name, const char *identity)
{
	struct holder *holder = malloc(sizeof(*holder));

	if (!holder)
		return -ENOMEM;
	(void)STR_COPY(holder->base, base);
	(void)STR_COPY(holder->name, name);
	(void)STR_COPY(holder->identity, identity);
	list_append(&names->holders, &holder->link);
	return 0;
}

/*
 * Finds the first candidate that nobody else holds or owns. ret_contested: another identity was
 * in the way; its right to the name, if it holds it now, is remembered.
 */
static int choose(struct names *names, const char *base, const char *identity,
		  char ret_name[LIMIT_NAME + 1], bool *ret_contested)
{
	int r = 0;

	*ret_contested = false;
	for (unsigned n = 0; r == 0; n++) {
		struct holder *holder;
		struct name_record *owner;

		candidate(base, identity, n, ret_name);
		holder = find_holder(names, ret_name);
		owner = find_owner(names, ret_name);
		if (!holder && (!owner || streq(owner->identity, identity)))
			return 0;
		if (holder && streq(holder->identity, identity)) {
			n = MAX(n, 1u); /* a copy of ours: its own tag would be the same */
			continue;
		}
		*ret_contested = true;
		if (holder)
			r = remember(names, holder->base, holder->name, holder->identity);
	}
	return r;
}

int names_assign(struct names *names, const char *base, const char *wanted_identity,
		 char ret_name[LIMIT_NAME + 1])
{
	char identity[LIMIT_IDENTITY + 1];
	const struct name_record *record;
	char name[LIMIT_NAME + 1];
	bool contested = false;
	int r = 0;

	(void)STR_COPY(identity, wanted_identity);
	record = find_record(names, base, identity);
	if (record && !find_holder(names, record->name))
		(void)STR_COPY(name, record->name);
	else
		r = choose(names, base, identity, name, &contested);
	if (r == 0 && contested)
		r = remember(names, base, name, identity);
	if (r == 0)
		r = hold(names, base, name, identity);
	if (r < 0)
		return r;
	save(names);
	memcpy(ret_name, name, sizeof(name));
	return 0;
}

int names_hold(struct names *names, const char *base, const char *identity, const char *name)
{
	return hold(names, base, name, identity);
}

int names_each_record(const struct names *names,
		      int (*fn)(const struct name_record *record, void *data), void *data)
{
	int r = 0;

	list_for_each (it, &names->records) {
		r = fn(CONTAINER_OF(it, struct name_record, link), data);
		if (r != 0)
			break;
	}
	return r;
}

int names_remember(struct names *names, const char *base, const char *identity, const char *name)
{
	int r = remember(names, base, name, identity);

	save(names);
	return r;
}

void names_release(struct names *names, const char *name)
{
	struct holder *holder = find_holder(names, name);

	if (!holder)
		return;
	list_remove(&holder->link);
	free(holder);
}
