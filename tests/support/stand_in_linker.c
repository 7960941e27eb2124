/* nvJitLink 13.0 as it meets the code of a newer NVVM: it refuses it.
 *
 * Names and numbers are those of nvJitLink.h; the log is what nvJitLink 13.0.88 wrote of code by NVVM 13.5.
 */
#include <stddef.h>
#include <string.h>

enum { SUCCESS = 0, ERROR_OUTDATED_LIBRARY = 14 };

static const char LOG[] = "ERROR 4 in nvvmAddNVVMContainerToProgram, may need newer version of nvJitLink library\n";

int nvJitLinkVersion(unsigned *major, unsigned *minor)
{
    *major = 13;
    *minor = 0;
    return SUCCESS;
}

int nvJitLinkCreate(void **link, unsigned count, const char **options)
{
    (void)count;
    (void)options;
    *link = (void *)LOG;
    return SUCCESS;
}

int nvJitLinkDestroy(void **link)
{
    (void)link;
    return SUCCESS;
}

int nvJitLinkAddData(void *link, int kind, const void *data, size_t bytes, const char *name)
{
    (void)link;
    (void)kind;
    (void)data;
    (void)bytes;
    (void)name;
    return ERROR_OUTDATED_LIBRARY;
}

int nvJitLinkGetErrorLogSize(void *link, size_t *bytes)
{
    (void)link;
    *bytes = sizeof LOG;
    return SUCCESS;
}

int nvJitLinkGetErrorLog(void *link, char *log)
{
    (void)link;
    memcpy(log, LOG, sizeof LOG);
    return SUCCESS;
}
