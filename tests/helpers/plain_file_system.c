/* A file system that lacks what exFAT, SMB shares and buckets mounted as folders lack: links, hard
 * and symbolic (EPERM), modes (EPERM), fsync of directories (EINVAL) and setting of times (ENOSYS).
 * For LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

static int refuse(int code) {
    errno = code;
    return -1;
}

int link(const char *from, const char *to) { return refuse(EPERM); }
int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    return refuse(EPERM);
}
int symlink(const char *to, const char *path) { return refuse(EPERM); }
int symlinkat(const char *to, int folder, const char *path) { return refuse(EPERM); }
int chmod(const char *path, mode_t mode) { return refuse(EPERM); }
int fchmodat(int folder, const char *path, mode_t mode, int flags) { return refuse(EPERM); }
int utime(const char *path, const void *times) { return refuse(ENOSYS); }
int utimes(const char *path, const struct timeval times[2]) { return refuse(ENOSYS); }
int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
    return refuse(ENOSYS);
}
int fsync(int descriptor) {
    struct stat status;
    if (fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode))
        return refuse(EINVAL);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return real(descriptor);
}
