/* SPDX-License-Identifier: MIT */
/*
 * elf_load.c - put a guest image into memory
 *
 * Everything is checked before the first byte is copied.  libelf keeps header
 * and section tables inside the image; offsets and addresses of segments and
 * symbols are ours to check.  Headers are taken as copies (gelf.h), since the
 * image may place them at any alignment.
 */
#include "vmm/elf_load.h"

#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <string.h>

#include "guest/params.h"

#define IMAGE_END ((uint64_t)GUEST_DEVICE_GFN << 12)

/* The image, and what libelf makes of it. */
struct source {
	Elf *elf;
	const uint8_t *image;
	size_t bytes;
	size_t segments;
};

/* Is [begin, begin + bytes) inside [first, end)? */
static bool inside(uint64_t begin, uint64_t bytes, uint64_t first, uint64_t end)
{
	return begin >= first && begin <= end && bytes <= end - begin;
}

static bool segment_is_valid(const GElf_Phdr *segment, size_t bytes)
{
	return segment->p_filesz <= segment->p_memsz &&
	       inside(segment->p_offset, segment->p_filesz, 0, bytes) &&
	       inside(segment->p_paddr, segment->p_memsz, GUEST_IMAGE_GPA,
		      IMAGE_END);
}

static bool header_is_valid(const GElf_Ehdr *header)
{
	return header->e_ident[EI_CLASS] == ELFCLASS64 &&
	       header->e_ident[EI_DATA] == ELFDATA2LSB &&
	       header->e_type == ET_EXEC && header->e_machine == EM_X86_64 &&
	       inside(header->e_entry, 1, GUEST_IMAGE_GPA, IMAGE_END);
}

static int find_in_table(Elf *elf, Elf_Scn *section, const char *name,
			 GElf_Sym *ret)
{
	Elf_Data *data = elf_getdata(section, NULL);
	GElf_Shdr header;

	if (!gelf_getshdr(section, &header))
		return -ENOEXEC;
	for (int i = 0; gelf_getsym(data, i, ret); i++) {
		const char *found =
			elf_strptr(elf, header.sh_link, ret->st_name);

		if (found && strcmp(found, name) == 0)
			return 0;
	}
	return -ENOEXEC;
}

static int find_symbol(Elf *elf, const char *name, GElf_Sym *ret)
{
	for (Elf_Scn *section = elf_nextscn(elf, NULL); section;
	     section = elf_nextscn(elf, section)) {
		GElf_Shdr header;

		if (gelf_getshdr(section, &header) &&
		    header.sh_type == SHT_SYMTAB)
			return find_in_table(elf, section, name, ret);
	}
	return -ENOEXEC;
}

/* The index-th segment that is to be loaded; false for any other. */
static bool get_segment(const struct source *source, size_t index,
			GElf_Phdr *ret)
{
	return gelf_getphdr(source->elf, (int)index, ret) &&
	       ret->p_type == PT_LOAD;
}

static bool segments_are_valid(const struct source *source)
{
	GElf_Phdr segment;

	for (size_t i = 0; i < source->segments; i++) {
		if (!gelf_getphdr(source->elf, (int)i, &segment))
			return false;
		if (segment.p_type == PT_LOAD &&
		    !segment_is_valid(&segment, source->bytes))
			return false;
	}
	return source->segments != 0;
}

static bool params_are_valid(const uint8_t *at)
{
	struct guest_params params;

	memcpy(&params, at, sizeof(params));
	return params.magic == GUEST_MAGIC &&
	       params.params_size == sizeof(params);
}

/* The parameter block must lie in the file's part of one segment. */
static int find_params(const struct source *source, struct elf_image *ret)
{
	GElf_Phdr segment;
	GElf_Sym symbol;

	if (find_symbol(source->elf, "guest_params", &symbol) ||
	    symbol.st_size != sizeof(struct guest_params) ||
	    symbol.st_value % _Alignof(struct guest_params))
		return -ENOEXEC;

	for (size_t i = 0; i < source->segments; i++) {
		uint64_t offset;

		if (!get_segment(source, i, &segment) ||
		    segment.p_vaddr != segment.p_paddr ||
		    symbol.st_value < segment.p_vaddr)
			continue;
		offset = symbol.st_value - segment.p_vaddr;
		if (!inside(offset, symbol.st_size, 0, segment.p_filesz))
			continue;
		ret->params_gpa = symbol.st_value;
		ret->params_offset = segment.p_offset + offset;
		return params_are_valid(source->image + ret->params_offset)
			       ? 0
			       : -ENOEXEC;
	}
	return -ENOEXEC;
}

static void copy_segments(const struct source *source, uint8_t *memory)
{
	GElf_Phdr segment;

	for (size_t i = 0; i < source->segments; i++) {
		uint8_t *to;

		if (!get_segment(source, i, &segment))
			continue;
		to = memory + segment.p_paddr;
		memcpy(to, source->image + segment.p_offset, segment.p_filesz);
		memset(to + segment.p_filesz, 0,
		       segment.p_memsz - segment.p_filesz);
	}
}

static int load(struct source *source, uint8_t *memory, struct elf_image *ret)
{
	GElf_Ehdr header;
	int err;

	if (!gelf_getehdr(source->elf, &header) || !header_is_valid(&header))
		return -ENOEXEC;
	if (elf_getphdrnum(source->elf, &source->segments) ||
	    !segments_are_valid(source))
		return -ENOEXEC;
	ret->entry = header.e_entry;
	err = find_params(source, ret);
	if (err)
		return err;
	if (memory)
		copy_segments(source, memory);
	return 0;
}

int elf_load(const void *image, size_t bytes, uint8_t *memory,
	     struct elf_image *ret)
{
	struct source source = { .image = image, .bytes = bytes };
	struct elf_image found;
	int err;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return -ENOEXEC;
	/* Not const by history: libelf only reads what it is given here. */
	source.elf = elf_memory((char *)(uintptr_t)image, bytes);
	if (!source.elf)
		return -ENOEXEC;
	err = elf_kind(source.elf) == ELF_K_ELF ? load(&source, memory, &found)
						: -ENOEXEC;
	(void)elf_end(source.elf); /* a count of references, always 0 here */
	if (!err)
		*ret = found;
	return err;
}
