#include "cli/output.h"

#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <wchar.h>
#include <wctype.h>

void output_init(void)
{
	static const char *const variables[] = {"LC_ALL", "LC_CTYPE", "LANG"};
	bool told = false;

	for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
		const char *value = secure_getenv(variables[i]);

		told = told || (value && *value);
	}
	/* Containers seldom say what the terminal speaks; today that means UTF-8. */
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread */
	(void)setlocale(LC_CTYPE, told ? "" : "C.UTF-8");
}

const char *error_text(int err)
{
	const char *text = strerrordesc_np(err);

	return text ? text : "unknown error";
}

static void message_print(const struct command *command, const char *text, const char *end)
{
	if (command)
		(void)fprintf(stderr, "hotplugfs %s: %s%s", command->name, text, end);
	else
		(void)fprintf(stderr, "hotplugfs: %s%s", text, end);
}

void error_print(const struct command *command, const char *fmt, ...)
{
	char text[2048];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	message_print(command, text, "\n");
}

void usage_print(const struct command *command, const char *fmt, ...)
{
	char text[2048];
	char end[64];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	(void)snprintf(end, sizeof(end), ", see hotplugfs %s%s--help\n",
		       command ? command->name : "", command ? " " : "");
	message_print(command, text, end);
}

/* Why an earlier write failed is forgotten, but the next one fails for the same reason. */
static int lost_error(void)
{
	return fputc('\n', stdout) == EOF || fflush(stdout) != 0 ? errno : EIO;
}

int output_flush(const struct command *command)
{
	int err = 0;

	if (fflush(stdout) != 0)
		err = errno;
	else if (ferror(stdout))
		err = lost_error();
	/* Whoever closes the pipe early has what he wanted: as silent as a SIGPIPE. */
	if (err && err != EPIPE)
		error_print(command, "cannot write to standard output: %s", error_text(err));
	return -err;
}

/*
 * Format characters of Unicode that iswprint(3) lets pass although they are invisible or turn the
 * direction of what follows (general category Cf, and the line and paragraph separators).
 */
static const struct {
	wint_t first;
	wint_t last;
} invisible[] = {
	{0x00ad, 0x00ad}, {0x0600, 0x0605}, {0x061c, 0x061c}, {0x06dd, 0x06dd},
	{0x070f, 0x070f}, {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e},
	{0x2060, 0x206f}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f},
};

static bool is_visible(wchar_t c)
{
	if (!iswprint((wint_t)c) || c == L'\\')
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(invisible); i++)
		if ((wint_t)c >= invisible[i].first && (wint_t)c <= invisible[i].last)
			return false;
	return true;
}

char *text_escape(const char *text, size_t *ret_width)
{
	size_t left = strlen(text);
	char *out = malloc(left * 4 + 1);
	mbstate_t state = {0};
	size_t used = 0;
	size_t width = 0;

	if (!out)
		return NULL;
	while (left > 0) {
		wchar_t c;
		/* NOLINTNEXTLINE(concurrency-mt-unsafe): not with a state of our own */
		size_t n = mbrtowc(&c, text, left, &state);
		bool whole = n != 0 && n <= left;

		if (whole && is_visible(c)) {
			memcpy(out + used, text, n);
			used += n;
			width += (size_t)MAX(wcwidth(c), 0);
		} else {
			n = whole ? n : 1;
			for (size_t i = 0; i < n; i++, used += 4, width += 4)
				(void)snprintf(out + used, 5, "\\x%02x", (unsigned char)text[i]);
			state = (mbstate_t){0};
		}
		text += n;
		left -= n;
	}
	out[used] = '\0';
	if (ret_width)
		*ret_width = width;
	return out;
}

struct size_text size_format(uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	struct size_text out;
	uint64_t whole = bytes;
	uint64_t rest = 0;
	size_t unit = 0;

	while (whole >= 1024) {
		rest = whole % 1024;
		whole /= 1024;
		unit++;
	}
	if (unit > 0 && whole < 100)
		(void)snprintf(out.text, sizeof(out.text), "%llu.%llu %s",
			       (unsigned long long)whole, (unsigned long long)(rest * 10 / 1024),
			       units[unit]);
	else
		(void)snprintf(out.text, sizeof(out.text), "%llu %s", (unsigned long long)whole,
			       units[unit]);
	return out;
}
