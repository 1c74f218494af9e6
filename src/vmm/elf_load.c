/* SPDX-License-Identifier: MIT */
/*
 * elf_load.c - put a guest image into memory
 *
 * Everything is checked before the first byte is copied.  libelf keeps header
 * and section tables inside the image; offsets and addresses of segments and
 * symbols are ours to check.
 */
#include "vmm/elf_load.h"

#include <errno.h>
#include <libelf.h>
#include <stdbool.h>
#include <string.h>

#include "guest/params.h"

#define IMAGE_END ((uint64_t)GUEST_DEVICE_GFN << 12)

/* Is [begin, begin + bytes) inside [first, end)? */
static bool inside(uint64_t begin, uint64_t bytes, uint64_t first, uint64_t end)
{
	return begin >= first && begin <= end && bytes <= end - begin;
}

static bool segment_is_valid(const Elf64_Phdr *segment, size_t bytes)
{
	return segment->p_filesz <= segment->p_memsz &&
	       inside(segment->p_offset, segment->p_filesz, 0, bytes) &&
	       inside(segment->p_paddr, segment->p_memsz, GUEST_IMAGE_GPA,
		      IMAGE_END);
}

static bool header_is_valid(const Elf64_Ehdr *header)
{
	return header->e_ident[EI_DATA] == ELFDATA2LSB &&
	       header->e_type == ET_EXEC && header->e_machine == EM_X86_64 &&
	       inside(header->e_entry, 1, GUEST_IMAGE_GPA, IMAGE_END);
}

static int find_in_table(Elf *elf, Elf_Scn *section, const char *name,
			 Elf64_Sym *ret)
{
	const Elf64_Shdr *header = elf64_getshdr(section);
	const Elf_Data *data = elf_getdata(section, NULL);

	if (!header || !data || !data->d_buf)
		return -ENOEXEC;
	for (size_t at = 0; at + sizeof(*ret) <= data->d_size;
	     at += sizeof(*ret)) {
		const char *found;

		memcpy(ret, (const char *)data->d_buf + at, sizeof(*ret));
		found = elf_strptr(elf, header->sh_link, ret->st_name);
		if (found && strcmp(found, name) == 0)
			return 0;
	}
	return -ENOEXEC;
}

static int find_symbol(Elf *elf, const char *name, Elf64_Sym *ret)
{
	for (Elf_Scn *section = elf_nextscn(elf, NULL); section;
	     section = elf_nextscn(elf, section)) {
		const Elf64_Shdr *header = elf64_getshdr(section);

		if (header && header->sh_type == SHT_SYMTAB)
			return find_in_table(elf, section, name, ret);
	}
	return -ENOEXEC;
}

/* The parameter block must lie in the file's part of one segment. */
static int find_params(Elf *elf, const Elf64_Phdr *segments, size_t count,
		       const uint8_t *image, struct elf_image *ret)
{
	struct guest_params params;
	Elf64_Sym symbol;

	if (find_symbol(elf, "guest_params", &symbol) ||
	    symbol.st_size != sizeof(params) ||
	    symbol.st_value % _Alignof(struct guest_params))
		return -ENOEXEC;

	for (size_t i = 0; i < count; i++) {
		const Elf64_Phdr *segment = &segments[i];
		uint64_t offset;

		if (segment->p_type != PT_LOAD ||
		    segment->p_vaddr != segment->p_paddr ||
		    symbol.st_value < segment->p_vaddr)
			continue;
		offset = symbol.st_value - segment->p_vaddr;
		if (!inside(offset, sizeof(params), 0, segment->p_filesz))
			continue;
		ret->params_gpa = symbol.st_value;
		ret->params_offset = segment->p_offset + offset;
		memcpy(&params, image + ret->params_offset, sizeof(params));
		return params.magic == GUEST_MAGIC &&
				       params.params_size == sizeof(params)
			       ? 0
			       : -ENOEXEC;
	}
	return -ENOEXEC;
}

static void copy_segments(const Elf64_Phdr *segments, size_t count,
			  const uint8_t *image, uint8_t *memory)
{
	for (size_t i = 0; i < count; i++) {
		const Elf64_Phdr *segment = &segments[i];
		uint8_t *to = memory + segment->p_paddr;

		if (segment->p_type != PT_LOAD)
			continue;
		memcpy(to, image + segment->p_offset, segment->p_filesz);
		memset(to + segment->p_filesz, 0,
		       segment->p_memsz - segment->p_filesz);
	}
}

static int load(Elf *elf, const uint8_t *image, size_t bytes, uint8_t *memory,
		struct elf_image *ret)
{
	const Elf64_Ehdr *header = elf64_getehdr(elf); /* NULL: not 64-bit */
	const Elf64_Phdr *segments;
	size_t count = 0;
	int err;

	if (!header || !header_is_valid(header))
		return -ENOEXEC;
	if (elf_getphdrnum(elf, &count) || !count)
		return -ENOEXEC;
	segments = elf64_getphdr(elf);
	if (!segments)
		return -ENOEXEC;
	for (size_t i = 0; i < count; i++) {
		if (segments[i].p_type == PT_LOAD &&
		    !segment_is_valid(&segments[i], bytes))
			return -ENOEXEC;
	}
	ret->entry = header->e_entry;
	err = find_params(elf, segments, count, image, ret);
	if (err)
		return err;
	if (memory)
		copy_segments(segments, count, image, memory);
	return 0;
}

int elf_load(const void *image, size_t bytes, uint8_t *memory,
	     struct elf_image *ret)
{
	struct elf_image found;
	Elf *elf;
	int err;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return -ENOEXEC;
	/* Not const by history: libelf only reads what it is given here. */
	elf = elf_memory((char *)(uintptr_t)image, bytes);
	if (!elf)
		return -ENOEXEC;
	err = elf_kind(elf) == ELF_K_ELF
		      ? load(elf, image, bytes, memory, &found)
		      : -ENOEXEC;
	(void)elf_end(elf); /* a count of references, always 0 here */
	if (!err)
		*ret = found;
	return err;
}
