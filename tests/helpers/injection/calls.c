/* The calls on files that count, in place of the C library's.
 *
 * A library in front of the others (LD_PRELOAD) is asked first by everything that is not part
 * of the C library itself: Python, HDF5, the C++ library of torch. What goes on inside the C
 * library, such as the reads behind fread, and page faults of maps cannot be taken this way.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "faults.h"

#define REAL(type, name, ...)                                                                      \
    static type (*real)(__VA_ARGS__);                                                              \
    if (!real)                                                                                     \
    real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define FAIL(value)                                                                                \
    do {                                                                                           \
        call_done(&call, op, size, -1);                                                            \
        errno = call.error;                                                                        \
        return value;                                                                              \
    } while (0)

/* ---- opening ---- */

#define OPENING(name, folder_parameter, folder, folder_argument, flags_of, pass)                   \
    int name(folder_parameter const char *path, int flags, ...) {                                  \
        const char *op = flags & O_CREAT ? "create" : "open";                                      \
        const long size = -1;                                                                      \
        mode_t mode = 0;                                                                           \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                       \
            va_list values;                                                                        \
            va_start(values, flags);                                                               \
            mode = va_arg(values, mode_t);                                                         \
            va_end(values);                                                                        \
        }                                                                                          \
        REAL(int, #name, folder_argument const char *, int, ...);                                  \
        Call call;                                                                                 \
        call_on_path(&call, op, folder, path);                                                     \
        if (call.error)                                                                            \
            FAIL(-1);                                                                              \
        int result = real(pass path, flags, mode);                                                 \
        call_done(&call, op, size, result < 0 ? -1 : 0);                                           \
        return result;                                                                             \
    }
#define NOTHING
#define FOLDER_PARAMETER int folder,
#define FOLDER_ARGUMENT int,
#define FOLDER folder,
OPENING(open, NOTHING, AT_FDCWD, NOTHING, flags, NOTHING)
OPENING(open64, NOTHING, AT_FDCWD, NOTHING, flags, NOTHING)
OPENING(openat, FOLDER_PARAMETER, folder, FOLDER_ARGUMENT, flags, FOLDER)
OPENING(openat64, FOLDER_PARAMETER, folder, FOLDER_ARGUMENT, flags, FOLDER)

int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open64(path, flags); }
int __openat_2(int folder, const char *path, int flags) { return openat(folder, path, flags); }
int __openat64_2(int folder, const char *path, int flags) { return openat64(folder, path, flags); }
int creat(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

#define STREAM(name)                                                                               \
    FILE *name(const char *path, const char *mode) {                                               \
        const char *op = *mode == 'r' ? "open" : "create";                                         \
        const long size = -1;                                                                      \
        REAL(FILE *, #name, const char *, const char *);                                           \
        Call call;                                                                                 \
        call_on_path(&call, op, AT_FDCWD, path);                                                   \
        if (call.error)                                                                            \
            FAIL(NULL);                                                                            \
        FILE *result = real(path, mode);                                                           \
        call_done(&call, op, size, result ? 0 : -1);                                               \
        return result;                                                                             \
    }
STREAM(fopen)
STREAM(fopen64)

/* ---- reading and writing ---- */

#define TRANSFER(name, op_name, buffer, offset_parameter, offset_type, pass)                       \
    ssize_t name(int descriptor, buffer values, size_t length offset_parameter) {                  \
        const char *op = op_name;                                                                  \
        const long size = length;                                                                  \
        REAL(ssize_t, #name, int, buffer, size_t offset_type);                                     \
        Call call;                                                                                 \
        call_on_descriptor(&call, op, descriptor);                                                 \
        if (call.error)                                                                            \
            FAIL(-1);                                                                              \
        if (call.is_short && length > 1)                                                           \
            length /= 2;                                                                           \
        ssize_t result = real(descriptor, values, length pass);                                    \
        call_done(&call, op, size, result);                                                        \
        return result;                                                                             \
    }
#define OFFSET_PARAMETER , off_t offset
#define OFFSET_TYPE , off_t
#define OFFSET , offset
TRANSFER(read, "read", void *, NOTHING, NOTHING, NOTHING)
TRANSFER(write, "write", const void *, NOTHING, NOTHING, NOTHING)
TRANSFER(pread, "pread", void *, OFFSET_PARAMETER, OFFSET_TYPE, OFFSET)
TRANSFER(pread64, "pread", void *, OFFSET_PARAMETER, OFFSET_TYPE, OFFSET)
TRANSFER(pwrite, "pwrite", const void *, OFFSET_PARAMETER, OFFSET_TYPE, OFFSET)
TRANSFER(pwrite64, "pwrite", const void *, OFFSET_PARAMETER, OFFSET_TYPE, OFFSET)

ssize_t __read_chk(int descriptor, void *values, size_t length, size_t room) {
    (void)room;
    return read(descriptor, values, length);
}
ssize_t __pread64_chk(int descriptor, void *values, size_t length, off_t offset, size_t room) {
    (void)room;
    return pread64(descriptor, values, length, offset);
}

#define VECTOR(name, op_name, offset_parameter, offset_type, pass)                                 \
    ssize_t name(int descriptor, const struct iovec *parts, int num offset_parameter) {            \
        const char *op = op_name;                                                                  \
        long size = 0;                                                                             \
        for (int index = 0; index < num; index++)                                                  \
            size += parts[index].iov_len;                                                          \
        REAL(ssize_t, #name, int, const struct iovec *, int offset_type);                          \
        Call call;                                                                                 \
        call_on_descriptor(&call, op, descriptor);                                                 \
        if (call.error)                                                                            \
            FAIL(-1);                                                                              \
        struct iovec half = {num ? parts[0].iov_base : NULL, num ? parts[0].iov_len : 0};          \
        int is_one = call.is_short && num == 1 && half.iov_len > 1;                                \
        half.iov_len = is_one ? half.iov_len / 2 : half.iov_len;                                   \
        ssize_t result = real(descriptor, call.is_short && num ? &half : parts,                    \
                              call.is_short && num ? 1 : num pass);                                \
        call_done(&call, op, size, result);                                                        \
        return result;                                                                             \
    }
#define FLAGS_PARAMETER , off_t offset, int flags
#define FLAGS_TYPE , off_t, int
#define FLAGS , offset, flags
VECTOR(readv, "read", NOTHING, NOTHING, NOTHING)
VECTOR(writev, "write", NOTHING, NOTHING, NOTHING)
VECTOR(preadv, "pread", OFFSET_PARAMETER, OFFSET_TYPE, OFFSET)
VECTOR(preadv64, "pread", OFFSET_PARAMETER, OFFSET_TYPE, OFFSET)
VECTOR(preadv2, "pread", FLAGS_PARAMETER, FLAGS_TYPE, FLAGS)
VECTOR(preadv64v2, "pread", FLAGS_PARAMETER, FLAGS_TYPE, FLAGS)
VECTOR(pwritev, "pwrite", OFFSET_PARAMETER, OFFSET_TYPE, OFFSET)
VECTOR(pwritev64, "pwrite", OFFSET_PARAMETER, OFFSET_TYPE, OFFSET)

#define COPY_BODY(size_value, invocation)                                                          \
    const char *op = "copy";                                                                       \
    const long size = size_value;                                                                  \
    Call call;                                                                                     \
    call_on_descriptor(&call, op, to);                                                             \
    if (!call.is_counted)                                                                          \
        call_on_descriptor(&call, op, from);                                                       \
    if (call.error)                                                                                \
        FAIL(-1);                                                                                  \
    if (call.is_short && length > 1)                                                               \
        length /= 2;                                                                               \
    ssize_t result = invocation;                                                                   \
    call_done(&call, op, size, result);                                                            \
    return result;

#define SENDING(name)                                                                              \
    ssize_t name(int to, int from, off_t *offset, size_t length) {                                 \
        REAL(ssize_t, #name, int, int, off_t *, size_t);                                           \
        COPY_BODY(length, real(to, from, offset, length))                                          \
    }
SENDING(sendfile)
SENDING(sendfile64)

ssize_t copy_file_range(int from, off_t *start, int to, off_t *place, size_t length,
                        unsigned flags) {
    REAL(ssize_t, "copy_file_range", int, off_t *, int, off_t *, size_t, unsigned);
    COPY_BODY(length, real(from, start, to, place, length, flags))
}

/* ---- lengths and flushing ---- */

#define TRUNCATING(name)                                                                           \
    int name(int descriptor, off_t length) {                                                       \
        const char *op = "ftruncate";                                                              \
        const long size = length;                                                                  \
        REAL(int, #name, int, off_t);                                                              \
        Call call;                                                                                 \
        call_on_descriptor(&call, op, descriptor);                                                 \
        if (call.error)                                                                            \
            FAIL(-1);                                                                              \
        int result = real(descriptor, length);                                                     \
        call_done(&call, op, size, result);                                                        \
        return result;                                                                             \
    }
TRUNCATING(ftruncate)
TRUNCATING(ftruncate64)

#define FLUSHING(name)                                                                             \
    int name(int descriptor) {                                                                     \
        const char *op = #name;                                                                    \
        const long size = -1;                                                                      \
        REAL(int, #name, int);                                                                     \
        Call call;                                                                                 \
        call_on_descriptor(&call, op, descriptor);                                                 \
        if (call.error)                                                                            \
            FAIL(-1);                                                                              \
        int result = real(descriptor);                                                             \
        if (!result)                                                                               \
            journal_flush(&call, descriptor);                                                      \
        call_done(&call, op, size, result);                                                        \
        return result;                                                                             \
    }
FLUSHING(fsync)
FLUSHING(fdatasync)

/* ---- names ---- */

/* A call on two names counts where the first or the second is watched. */
#define NAMING(name, op_name, parameters, types, first, second, is_removal, invocation)            \
    int name parameters {                                                                          \
        const char *op = op_name;                                                                  \
        const long size = -1;                                                                      \
        REAL(int, #name, types);                                                                   \
        Call call;                                                                                 \
        call_on_path(&call, op, second);                                                           \
        if (!call.is_counted)                                                                      \
            call_on_path(&call, op, first);                                                        \
        if (call.error)                                                                            \
            FAIL(-1);                                                                              \
        if (is_removal)                                                                            \
            journal_removal(&call);                                                                \
        int result = invocation;                                                                   \
        call_done(&call, op, size, result);                                                        \
        return result;                                                                             \
    }
#define TYPES(...) __VA_ARGS__
#define AT(...) __VA_ARGS__
#define WITH(...) (__VA_ARGS__)
NAMING(rename, "rename", WITH(const char *from, const char *to), TYPES(const char *, const char *),
       AT(AT_FDCWD, from), AT(AT_FDCWD, to), 1, real(from, to))
NAMING(renameat, "rename", WITH(int a, const char *from, int b, const char *to),
       TYPES(int, const char *, int, const char *), AT(a, from), AT(b, to), 1,
       real(a, from, b, to))
NAMING(renameat2, "rename", WITH(int a, const char *from, int b, const char *to, unsigned flags),
       TYPES(int, const char *, int, const char *, unsigned), AT(a, from), AT(b, to), 1,
       real(a, from, b, to, flags))
NAMING(link, "link", WITH(const char *from, const char *to), TYPES(const char *, const char *),
       AT(AT_FDCWD, from), AT(AT_FDCWD, to), 0, real(from, to))
NAMING(linkat, "link", WITH(int a, const char *from, int b, const char *to, int flags),
       TYPES(int, const char *, int, const char *, int), AT(a, from), AT(b, to), 0,
       real(a, from, b, to, flags))
NAMING(symlink, "link", WITH(const char *from, const char *to), TYPES(const char *, const char *),
       AT(AT_FDCWD, to), AT(AT_FDCWD, to), 0, real(from, to))
NAMING(unlink, "unlink", WITH(const char *path), TYPES(const char *), AT(AT_FDCWD, path),
       AT(AT_FDCWD, path), 1, real(path))
NAMING(rmdir, "rmdir", WITH(const char *path), TYPES(const char *), AT(AT_FDCWD, path),
       AT(AT_FDCWD, path), 1, real(path))
NAMING(unlinkat, flags & AT_REMOVEDIR ? "rmdir" : "unlink",
       WITH(int folder, const char *path, int flags), TYPES(int, const char *, int),
       AT(folder, path), AT(folder, path), 1, real(folder, path, flags))
NAMING(mkdir, "mkdir", WITH(const char *path, mode_t mode), TYPES(const char *, mode_t),
       AT(AT_FDCWD, path), AT(AT_FDCWD, path), 0, real(path, mode))
NAMING(mkdirat, "mkdir", WITH(int folder, const char *path, mode_t mode),
       TYPES(int, const char *, mode_t), AT(folder, path), AT(folder, path), 0,
       real(folder, path, mode))

/* ---- listing: opening a folder, and the first read of its entries ---- */

static __thread DIR *begun;

DIR *opendir(const char *path) {
    const char *op = "list";
    const long size = -1;
    REAL(DIR *, "opendir", const char *);
    Call call;
    call_on_path(&call, op, AT_FDCWD, path);
    if (call.error)
        FAIL(NULL);
    DIR *result = real(path);
    begun = NULL;
    call_done(&call, op, size, result ? 0 : -1);
    return result;
}

DIR *fdopendir(int descriptor) {
    const char *op = "list";
    const long size = -1;
    REAL(DIR *, "fdopendir", int);
    Call call;
    call_on_descriptor(&call, op, descriptor);
    if (call.error)
        FAIL(NULL);
    DIR *result = real(descriptor);
    begun = NULL;
    call_done(&call, op, size, result ? 0 : -1);
    return result;
}

#define ENTRY(name, type)                                                                          \
    type *name(DIR *folder) {                                                                      \
        const char *op = "readdir";                                                                \
        const long size = -1;                                                                      \
        REAL(type *, #name, DIR *);                                                                \
        if (begun == folder)                                                                       \
            return real(folder);                                                                   \
        begun = folder;                                                                            \
        Call call;                                                                                 \
        call_on_descriptor(&call, op, dirfd(folder));                                              \
        if (call.error)                                                                            \
            FAIL(NULL);                                                                            \
        type *result = real(folder);                                                               \
        call_done(&call, op, size, 0);                                                             \
        return result;                                                                             \
    }
ENTRY(readdir, struct dirent)
ENTRY(readdir64, struct dirent64)
