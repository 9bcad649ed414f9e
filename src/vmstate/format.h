/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format: the constants of the stream that decoder and encoder share
 * (docs/format/vmstate.md).  All integers of the stream are big-endian.
 *
 * Source: QEMU migration/savevm.h (sections), migration/ram.c (records).
 */
#ifndef VMSTATE_FORMAT_H
#define VMSTATE_FORMAT_H

enum {
    STREAM_MAGIC = 0x5145564d, /* "QEVM" */
    STREAM_VERSION = 3,
    STREAM_HEADER_BYTES = 8
};

enum section_type {
    SECTION_EOF = 0x00,
    SECTION_START = 0x01,
    SECTION_PART = 0x02,
    SECTION_END = 0x03,
    SECTION_FULL = 0x04,
    SECTION_SUB = 0x05,
    SECTION_VMDESC = 0x06,
    SECTION_CONFIG = 0x07,
    SECTION_COMMAND = 0x08,
    SECTION_FOOTER = 0x7e
};

enum {
    SECTION_ID_BYTES = 5,     /* u8 type, u32 id; a footer has the same */
    SECTION_NUMBERS_BYTES = 8 /* after the name: u32 instance, u32 version */
};

/* Of COMMAND: u8 type, u16 number, u16 length of its data. */
enum { COMMAND_BYTES = 5, COMMAND_SWITCHOVER_START = 11 };

/* Low bits of the u64 that begins each record of a RAM section; the high bits
 * are an offset or a size. */
enum ram_flag {
    RAM_FULL = 0x01, /* no QEMU that we know writes it */
    RAM_ZERO = 0x02,
    RAM_MEM_SIZE = 0x04,
    RAM_PAGE = 0x08,
    RAM_EOS = 0x10,
    RAM_CONTINUE = 0x20,
    RAM_XBZRLE = 0x40,
    RAM_HOOK = 0x80,
    RAM_COMPRESS_PAGE = 0x100,
    RAM_MULTIFD_FLUSH = 0x200
};

enum { RAM_RECORD_BYTES = 8, RAM_VERSION = 4 };

#define RAM_SECTION_NAME "ram"

#endif
