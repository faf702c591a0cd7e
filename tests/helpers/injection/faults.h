/* Deciding about, noting and journaling the calls that calls.c takes from the C library. */
#ifndef FAULTS_H
#define FAULTS_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct {
    int is_counted;    /* on a path below the watched folder, while armed */
    int error;         /* fail with this errno in place of the call, 0: do it */
    int is_short;      /* read or write only a part */
    int is_fatal;      /* kill the process after the call */
    char path[PATH_MAX];    /* absolute */
} Call;

/* Fill `call` for an operation on a path relative to `folder` (a descriptor or AT_FDCWD). */
void call_on_path(Call *call, const char *op, int folder, const char *path);
/* The same for an open descriptor; also where only the second of two descriptors is watched. */
void call_on_descriptor(Call *call, const char *op, int descriptor);
/* Note what came of it; kills the process where that was asked for. `size` is -1 for none. */
void call_done(Call *call, const char *op, long size, long result);

/* Before a name goes away (it may be the last of its inode) or is taken by another inode. */
void journal_removal(const Call *call);
/* After a file or a folder was flushed: its content, or its entries, are kept. */
void journal_flush(const Call *call, int descriptor);

#endif
