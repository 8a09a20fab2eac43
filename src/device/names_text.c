/* The pure half of names.h: from any bytes to a safe path component. */
#include <stdio.h>

#include "device/names.h"
#include "device/names_text.h"

#define REPLACEMENT 0xfffd

struct range {
	uint32_t first, last;
};

/* Control characters and separators of lines. */
static const struct range controls[] = {{0x00, 0x1f}, {0x7f, 0x9f}, {0x2028, 0x2029}};

/* Format characters that nobody sees, among them those that turn the writing direction. */
static const struct range invisibles[] = {
	{0xad, 0xad},	  {0x61c, 0x61c},   {0x180e, 0x180e}, {0x200b, 0x200f},	  {0x202a, 0x202e},
	{0x2060, 0x206f}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f},
};

static const struct range blanks[] = {
	{0x20, 0x20},	  {0xa0, 0xa0},	    {0x1680, 0x1680}, {0x2000, 0x200a},
	{0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000},
};

static bool in_ranges(uint32_t c, const struct range *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (c >= ranges[i].first && c <= ranges[i].last)
			return true;
	return false;
}
#define IN(c, ranges) in_ranges((c), (ranges), ARRAY_SIZE(ranges))

/*
 * Takes one character off a NUL-terminated text. What is not valid UTF-8 (overlong forms,
 * surrogates and values above U+10FFFF included) gives U+FFFD for one byte.
 */
static uint32_t next_char(const char **text)
{
	static const struct {
		uint8_t mask, lead;
		int more;
		uint32_t least;
	} forms[] = {
		{0x80, 0x00, 0, 0},
		{0xe0, 0xc0, 1, 0x80},
		{0xf0, 0xe0, 2, 0x800},
		{0xf8, 0xf0, 3, 0x10000},
	};
	const uint8_t *p = (const uint8_t *)*text;

	(*text)++;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		uint32_t c = p[0] & (uint8_t)~forms[i].mask;
		int k = 1;

		if ((p[0] & forms[i].mask) != forms[i].lead)
			continue;
		for (; k <= forms[i].more && (p[k] & 0xc0) == 0x80; k++)
			c = c << 6 | (p[k] & 0x3f);
		if (k <= forms[i].more || c < forms[i].least || c > 0x10ffff ||
		    (c >= 0xd800 && c <= 0xdfff))
			return REPLACEMENT;
		*text += forms[i].more;
		return c;
	}
	return REPLACEMENT;
}

/* Appends c as UTF-8 if it fits into limit bytes. */
static bool put_char(char *name, size_t *length, size_t limit, uint32_t c)
{
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};

	if (*length + n > limit)
		return false;
	for (size_t i = n; i > 1; i--) {
		name[*length + i - 1] = (char)(0x80 | (c & 0x3f));
		c >>= 6;
	}
	name[*length] = (char)(leads[n] | c);
	*length += n;
	return true;
}

/* Leading dots and blanks are left out while nothing was written; the end comes after. */
static void trim_end(char *name, size_t length)
{
	size_t end = 0;

	for (const char *p = name; p < name + length;) {
		uint32_t c = next_char(&p);

		if (!IN(c, blanks))
			end = (size_t)(p - name);
	}
	name[end] = '\0';
}

void name_sanitize_to(const char *label, char *ret_name, size_t limit)
{
	size_t length = 0;

	while (*label) {
		uint32_t c = next_char(&label);

		if (IN(c, invisibles) || (length == 0 && (c == '.' || IN(c, blanks))))
			continue;
		if (IN(c, controls) || c == '/' || c == '\\')
			c = '_';
		if (!put_char(ret_name, &length, limit, c))
			break;
	}
	ret_name[length] = '\0';
	trim_end(ret_name, length);
}

void name_sanitize(const char *label, char ret_name[LIMIT_NAME + 1])
{
	name_sanitize_to(label, ret_name, LIMIT_NAME - NAME_SUFFIX_MAX);
}

void name_base(const char *wanted, const char *label, const char *uuid, const char *kname,
	       char ret_name[LIMIT_NAME + 1])
{
	const char *const texts[] = {wanted, label, uuid};
	char last[LIMIT_KNAME + 8];

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		name_sanitize(texts[i] ? texts[i] : "", ret_name);
		if (*ret_name)
			return;
	}
	(void)snprintf(last, sizeof(last), "usbhd-%s", kname);
	name_sanitize(last, ret_name);
}
