/*
 * Labels, one a line: each becomes a safe name, and no two media have the same. Then the input
 * as the file of contested names.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "device/names.h"
#include "device/names_store.h"
#include "device/names_text.h"
#include "fuzz.h"

#define MEDIA_MAX 32

static void must_be_safe(const char *name)
{
	char again[LIMIT_NAME + 1];
	size_t n = strlen(name);

	MUST(n > 0 && n <= LIMIT_NAME);
	MUST(name[0] != '.' && !strpbrk(name, "/\\\n\x7f"));
	name_sanitize_to(name, again, LIMIT_NAME);
	MUST(streq(name, again));
}

static void assign_all(char *labels)
{
	static char given[MEDIA_MAX][LIMIT_NAME + 1];
	struct names *names;
	size_t count = 0;
	char *rest = labels;

	MUST(names_new(NULL, &names) == 0);
	while (rest && count < MEDIA_MAX) {
		const char *label = strsep(&rest, "\n");
		char base[LIMIT_NAME + 1];

		name_base("", label, "", "sdb1", base);
		must_be_safe(base);
		/* every third is a copy of another disk */
		MUST(names_assign(names, base, count % 3 ? label : "copy", given[count]) == 0);
		must_be_safe(given[count]);
		for (size_t i = 0; i < count; i++)
			MUST(!streq(given[i], given[count]));
		if (count % 5 == 4) {
			names_release(names, given[count]);
			continue;
		}
		count++;
	}
	names_free(names);
}

/* What was loaded can be written, and comes back the same. */
static void load_file(const uint8_t *data, size_t size)
{
	char dir[] = "/tmp/hotplugfs-fuzz-XXXXXX";
	struct list records = LIST_INIT(records);
	struct list again = LIST_INIT(again);
	int dir_fd, fd;

	MUST(mkdtemp(dir));
	dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	fd = openat(dir_fd, "names", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	close(fd);
	if (names_store_load(dir_fd, &records) == 0) {
		MUST(names_store_save(dir_fd, &records) == 0);
		MUST(names_store_load(dir_fd, &again) == 0);
		for (struct list *a = records.next, *b = again.next; a != &records;
		     a = a->next, b = b->next) {
			const struct name_record *x = CONTAINER_OF(a, struct name_record, link);
			const struct name_record *y = CONTAINER_OF(b, struct name_record, link);

			must_be_safe(x->name);
			MUST(b != &again && streq(x->name, y->name) && streq(x->base, y->base) &&
			     streq(x->identity, y->identity));
		}
	}
	names_store_free(&records);
	names_store_free(&again);
	(void)unlinkat(dir_fd, "names", 0);
	close(dir_fd);
	(void)rmdir(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	MUST(text);
	memcpy(text, data, size);
	text[size] = '\0';
	load_file(data, size);
	assign_all(text);
	free(text);
	return 0;
}
