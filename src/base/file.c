#include "base/file.h"

#include "base/alloc.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static fb_status open_regular(const char *path, int *fd, size_t *bytes)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return fb_fail(FB_E_IO, "%s: cannot open: %s", path, strerror(errno));
    if (fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(*fd);
        return fb_fail(FB_E_IO, "%s: is not a regular file", path);
    }
    *bytes = (size_t)st.st_size;
    return FB_OK;
}

fb_status fb_file_map(const char *path, void **data, size_t *bytes)
{
    int fd;
    *data = NULL;
    FB_TRY(open_regular(path, &fd, bytes));
    if (*bytes > 0) {
        void *p = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            int e = errno;
            close(fd);
            return fb_fail(FB_E_IO, "%s: cannot map %zu bytes: %s", path, *bytes, strerror(e));
        }
        *data = p;
    }
    close(fd);
    return FB_OK;
}

void fb_file_unmap(void *data, size_t bytes)
{
    if (data)
        munmap(data, bytes);
}

fb_status fb_file_read(const char *path, size_t max_bytes, void **data, size_t *bytes)
{
    int fd;
    *data = NULL;
    FB_TRY(open_regular(path, &fd, bytes));
    fb_status status = FB_OK;
    char *p = NULL;
    size_t got = 0;
    if (*bytes > max_bytes) {
        status = fb_fail(FB_E_LIMIT, "%s: has %zu bytes; at most %zu are allowed", path, *bytes,
                         max_bytes);
        goto done;
    }
    p = fb_alloc(*bytes);
    if (!p) {
        status = fb_fail(FB_E_MEMORY, "%s: no memory for %zu bytes", path, *bytes);
        goto done;
    }
    while (got < *bytes) {
        ssize_t n = read(fd, p + got, *bytes - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            status = fb_fail(FB_E_IO, "%s: read %zu of %zu bytes: %s", path, got, *bytes,
                             n < 0 ? strerror(errno) : "the file ended");
            goto done;
        }
        got += (size_t)n;
    }
done:
    close(fd);
    if (status != FB_OK) {
        fb_free(p);
        p = NULL;
    }
    *data = p;
    return status;
}

fb_status fb_file_create(const char *path, fb_file *file)
{
    *file = (fb_file){0};
    size_t n = strlen(path) + 32;
    file->path = fb_alloc(n);
    file->temp = fb_alloc(n);
    if (!file->path || !file->temp) {
        fb_file_abort(file);
        return fb_fail(FB_E_MEMORY, "%s: no memory to write it", path);
    }
    strcpy(file->path, path);
    (void)snprintf(file->temp, n, "%s.tmp.%ld", path, (long)getpid());
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        fb_file_abort(file);
        return fb_fail(FB_E_IO, "%s: is not a regular file, so it is not overwritten", path);
    }
    file->stream = fopen(file->temp, "wb");
    if (!file->stream) {
        int e = errno;
        fb_free(file->temp);
        file->temp = NULL; /* there is nothing to delete */
        fb_file_abort(file);
        return fb_fail(FB_E_IO, "%s: cannot create a file there: %s", path, strerror(e));
    }
    return FB_OK;
}

void fb_file_abort(fb_file *file)
{
    if (file->stream)
        fclose(file->stream);
    if (file->stream && file->temp)
        unlink(file->temp);
    fb_free(file->temp);
    fb_free(file->path);
    *file = (fb_file){0};
}

fb_status fb_file_commit(fb_file *file)
{
    errno = 0;
    bool ok =
        !ferror(file->stream) && fflush(file->stream) == 0 && fsync(fileno(file->stream)) == 0;
    int e = errno;
    if (fclose(file->stream) != 0 && ok) {
        ok = false;
        e = errno;
    }
    file->stream = NULL;
    if (ok && rename(file->temp, file->path) != 0) {
        ok = false;
        e = errno;
    }
    fb_status status = FB_OK;
    if (!ok) {
        unlink(file->temp);
        status = fb_fail(FB_E_IO, "%s: cannot write: %s", file->path,
                         e ? strerror(e) : "a write failed; is the disk full?");
    }
    fb_free(file->temp);
    fb_free(file->path);
    *file = (fb_file){0};
    return status;
}

bool fb_file_same(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}
