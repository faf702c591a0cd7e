/* Which call fails, and a log of all calls that count.
 *
 * Calls are told apart by operation, path below the watched folder with its random parts
 * replaced by '*', and occurrence: threads may come in any order, and names may be drawn.
 * A line of the log: op TAB path TAB occurrence TAB size TAB result TAB what was done.
 * With a folder for a journal it also has lines for node_loss.py, which begin with '!'.
 */
#define _GNU_SOURCE
#include "faults.h"

#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_NAMES 65536
#define RANDOM_DIGITS 12
#define FEW_RANDOM_DIGITS 8
#define LOG_DESCRIPTOR 700

typedef struct {
    char *key;
    int num;
} Counter;

static struct {
    int is_armed, log, error, is_short, is_fatal, occurrence, num_kept;
    double seconds, until;
    char root[PATH_MAX], op[32], path[PATH_MAX], journal[PATH_MAX];
    Counter counters[MAX_NAMES];
} state;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_open)(const char *, int, ...);
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static DIR *(*real_fdopendir)(int);
static struct dirent *(*real_readdir)(DIR *);

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void find_real_calls(void) {
    if (real_readdir)
        return;
    real_write = dlsym(RTLD_NEXT, "write");
    real_open = dlsym(RTLD_NEXT, "open");
    real_pread = dlsym(RTLD_NEXT, "pread");
    real_fdopendir = dlsym(RTLD_NEXT, "fdopendir");
    real_readdir = dlsym(RTLD_NEXT, "readdir");
}

/* Arm: `kind` is "none", "short", "kill" or the number of an errno, which holds for `seconds`. */
int faults_arm(const char *root, const char *log, const char *op, const char *path,
               int occurrence, const char *kind, double seconds, const char *journal) {
    find_real_calls();
    int descriptor = real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (descriptor < 0)
        return -1;
    state.log = fcntl(descriptor, F_DUPFD_CLOEXEC, LOG_DESCRIPTOR);
    close(descriptor);
    snprintf(state.root, sizeof state.root, "%s", root);
    snprintf(state.op, sizeof state.op, "%s", op);
    snprintf(state.path, sizeof state.path, "%s", path);
    snprintf(state.journal, sizeof state.journal, "%s", journal);
    state.occurrence = occurrence;
    state.seconds = seconds;
    state.until = 0;
    state.error = atoi(kind);
    state.is_short = !strcmp(kind, "short");
    state.is_fatal = !strcmp(kind, "kill");
    state.is_armed = 1;
    return 0;
}

/* Programs that start by themselves are armed by the environment, which they do not hand on. */
__attribute__((constructor)) static void arm_from_environment(void) {
    const char *root = getenv("FAULTS_ROOT");
    if (!root)
        return;
    faults_arm(root, getenv("FAULTS_LOG"), getenv("FAULTS_OP"), getenv("FAULTS_PATH"),
               atoi(getenv("FAULTS_OCCURRENCE")), getenv("FAULTS_KIND"),
               atof(getenv("FAULTS_SECONDS")), getenv("FAULTS_JOURNAL"));
    unsetenv("FAULTS_ROOT");
    unsetenv("LD_PRELOAD");
}

static void note(const char *format, ...) {
    char line[3 * PATH_MAX];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (length > 0 && real_write(state.log, line, length) < 0)
        abort();
}

/* The path below the root: runs of 12 and more hex digits, and parts between dots that are
 * numbers or 8 and more hex digits, become '*'. */
static const char *shown(const char *path) {
    static __thread char text[PATH_MAX];
    const char *from = path + strlen(state.root);
    while (*from == '/')
        from++;
    size_t to = 0;
    while (*from && to < sizeof text - 2) {
        const char *end = from, *number = from;
        while (isxdigit((unsigned char)*end) && !isupper((unsigned char)*end))
            end++;
        while (isdigit((unsigned char)*number))
            number++;
        int is_part = from > path && from[-1] == '.' && (*end == '.' || !*end);
        is_part = is_part && end > from;
        int is_random = end - from >= RANDOM_DIGITS;
        if (is_random || (is_part && (number == end || end - from >= FEW_RANDOM_DIGITS))) {
            text[to++] = '*';
            from = end;
        } else if (end > from) {
            while (from < end && to < sizeof text - 2)
                text[to++] = *from++;
        } else {
            text[to++] = *from++;
        }
    }
    text[to] = 0;
    return *text ? text : ".";
}

static int count(const char *op, const char *path) {
    char key[PATH_MAX + 64];
    snprintf(key, sizeof key, "%s %s", op, path);
    unsigned place = 5381;
    for (const char *c = key; *c; c++)
        place = place * 33 + (unsigned char)*c;
    for (place %= MAX_NAMES; state.counters[place].key; place = (place + 1) % MAX_NAMES)
        if (!strcmp(state.counters[place].key, key))
            return ++state.counters[place].num;
    state.counters[place].key = strdup(key);
    return state.counters[place].num = 1;
}

static __thread int last_occurrence;

static void decide(Call *call, const char *op) {
    size_t length = strlen(state.root);
    call->is_counted = call->error = call->is_short = call->is_fatal = 0;
    if (strncmp(call->path, state.root, length) || (call->path[length] && call->path[length] != '/'))
        return;
    call->is_counted = 1;
    pthread_mutex_lock(&mutex);
    const char *path = shown(call->path);
    last_occurrence = count(op, path);
    int is_target = last_occurrence == state.occurrence && !strcmp(op, state.op) &&
                    !strcmp(path, state.path);
    if (is_target && state.error)
        state.until = now() + state.seconds;
    if (is_target || (state.error && state.until && now() < state.until))
        call->error = state.error;
    call->is_short = is_target && state.is_short;
    call->is_fatal = is_target && state.is_fatal;
    pthread_mutex_unlock(&mutex);
}

/* Take "//", "." and ".." out of an absolute path, by its letters alone. */
static void straighten(char *path) {
    char *to = path;
    for (char *from = path; *from;) {
        size_t length = strcspn(from + 1, "/") + 1;
        if (length == 3 && !strncmp(from, "/..", 3)) {
            while (to > path && *--to != '/')
                ;
        } else if (length > 1 && !(length == 2 && from[1] == '.')) {
            memmove(to, from, length);
            to += length;
        }
        from += length;
    }
    *to = 0;
}

void call_on_path(Call *call, const char *op, int folder, const char *path) {
    call->is_counted = call->error = call->is_short = call->is_fatal = 0;
    if (!state.is_armed || !path)
        return;
    int saved = errno;
    char base[PATH_MAX] = "", link[64];
    if (*path != '/') {
        snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d",
                 folder);
        ssize_t length = readlink(link, base, sizeof base - 2);
        if (length < 0)
            length = 0;
        base[length] = '/';
        base[length + 1] = 0;
    }
    snprintf(call->path, sizeof call->path, "%.*s%s", (int)strlen(base), base, path);
    straighten(call->path);
    errno = saved;
    decide(call, op);
}

void call_on_descriptor(Call *call, const char *op, int descriptor) {
    call->is_counted = call->error = call->is_short = call->is_fatal = 0;
    if (!state.is_armed)
        return;
    int saved = errno;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, call->path, sizeof call->path - 1);
    errno = saved;
    if (length < 1)
        return;
    call->path[length] = 0;
    decide(call, op);
}

void call_done(Call *call, const char *op, long size, long result) {
    if (!call->is_counted)
        return;
    int saved = errno;
    const char *done = call->error      ? strerrorname_np(call->error)
                       : call->is_short ? "short"
                       : call->is_fatal ? "kill"
                                        : "";
    note("%s\t%s\t%d\t%ld\t%ld\t%s\n", op, shown(call->path), last_occurrence, size, result, done);
    if (call->is_fatal)
        kill(getpid(), SIGKILL);
    errno = saved;
}

void journal_removal(const Call *call) {
    struct stat found;
    if (!call->is_counted || !*state.journal || lstat(call->path, &found))
        return;
    if (found.st_nlink == 1 || S_ISDIR(found.st_mode))
        note("!gone\t%lu\n", (unsigned long)found.st_ino);
}

static void keep_content(int descriptor, int copy) {
    char link[64], block[65536];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    int source = real_open(link, O_RDONLY | O_CLOEXEC);
    ssize_t length;
    for (off_t at = 0; (length = real_pread(source, block, sizeof block, at)) > 0; at += length)
        if (real_write(copy, block, length) != length)
            abort();
    close(source);
}

static void keep_entries(const char *path, int copy) {
    int folder = real_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = real_fdopendir(folder);
    for (struct dirent *entry; entries && (entry = real_readdir(entries));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            dprintf(copy, "%lu\t%d\t%s\n", (unsigned long)entry->d_ino, entry->d_type == DT_DIR,
                    entry->d_name);
    if (entries)
        closedir(entries);
}

void journal_flush(const Call *call, int descriptor) {
    struct stat found;
    if (!call->is_counted || !*state.journal || fstat(descriptor, &found))
        return;
    int saved = errno;
    char name[2 * PATH_MAX];
    int number = __sync_add_and_fetch(&state.num_kept, 1);
    snprintf(name, sizeof name, "%s/%d-%d", state.journal, (int)getpid(), number);
    int copy = real_open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (S_ISDIR(found.st_mode))
        keep_entries(call->path, copy);
    else
        keep_content(descriptor, copy);
    close(copy);
    note("!%s\t%lu\t%d-%d\n", S_ISDIR(found.st_mode) ? "entries" : "content",
         (unsigned long)found.st_ino, (int)getpid(), number);
    errno = saved;
}
