/* A CUDA driver that computes nothing and remembers every launch.
 *
 * numba-cuda compiles and links for the device that this driver describes, loads the machine code and launches it. The
 * parameters of a launch are read as a driver reads them: their number, offsets and sizes stand in the machine code.
 * Device memory is host memory, so that copies work. Whatever is missing here answers CUDA_ERROR_NOT_SUPPORTED.
 *
 * Names of functions, attributes and errors are those of cuda.h. Environment (tests.support.stand_in_driver sets it):
 *   STAND_IN_DEVICES             number of devices
 *   STAND_IN_COMPUTE_CAPABILITY  of every device, as "9.0"
 *   STAND_IN_DRIVER_VERSION      as "13.0"
 *   STAND_IN_FAILURES            functions that fail, with their error, as "cuInit=100,cuMemAlloc=2"
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int CUresult;
typedef int CUdevice;
typedef uintptr_t CUdeviceptr;
typedef void *Handle;

enum {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
    CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_NOT_SUPPORTED = 801,
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
};

#define MOST_DEVICES 8
#define DEVICE_BYTES ((size_t)80 << 30)
#define FREE_BYTES ((size_t)70 << 30)
#define MULTIPROCESSORS 132
#define REGISTERS 32 /* of every kernel: this driver has no register file */

/* --- Configuration ----------------------------------------------------------------------------------------------- */

static const char *setting(const char *name, const char *otherwise)
{
    const char *text = getenv(name);
    return text && *text ? text : otherwise;
}

static int device_count(void)
{
    int count = atoi(setting("STAND_IN_DEVICES", "1"));
    return count < MOST_DEVICES ? count : MOST_DEVICES;
}

static void two_numbers(const char *text, int *first, int *second)
{
    if (sscanf(text, "%d.%d", first, second) != 2)
        *first = *second = 0;
}

/* The error that a function is told to return. The suffix of its version does not count. */
static CUresult told_failure(const char *function)
{
    size_t length = strlen(function);
    if (length > 3 && strncmp(function + length - 3, "_v2", 3) == 0)
        length -= 3;
    for (const char *at = setting("STAND_IN_FAILURES", ""); at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, function, length) == 0 && at[length] == '=')
            return atoi(at + length + 1);
    }
    return CUDA_SUCCESS;
}

#define MAY_FAIL                                  \
    do {                                          \
        CUresult told = told_failure(__func__);   \
        if (told)                                 \
            return told;                          \
    } while (0)

/* --- Driver and devices ------------------------------------------------------------------------------------------ */

CUresult cuInit(unsigned flags)
{
    (void)flags;
    MAY_FAIL;
    return device_count() ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

CUresult cuDriverGetVersion(int *version)
{
    int major, minor;
    two_numbers(setting("STAND_IN_DRIVER_VERSION", "13.0"), &major, &minor);
    *version = 1000 * major + 10 * minor;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
    MAY_FAIL;
    *count = device_count();
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    MAY_FAIL;
    if (ordinal < 0 || ordinal >= device_count())
        return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
    snprintf(name, (size_t)length, "stand-in %d", device);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(void *uuid, CUdevice device)
{
    memset(uuid, device + 1, 16);
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    (void)device;
    *bytes = DEVICE_BYTES;
    return CUDA_SUCCESS;
}

/* Numbers of CUdevice_attribute. The limits are those of every device since compute capability 7.5. */
CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    int major, minor;
    (void)device;
    MAY_FAIL;
    two_numbers(setting("STAND_IN_COMPUTE_CAPABILITY", "9.0"), &major, &minor);
    switch (attribute) {
    case 1: *value = 1024; break;             /* MAX_THREADS_PER_BLOCK */
    case 2: case 3: *value = 1024; break;     /* MAX_BLOCK_DIM_X, _Y */
    case 4: *value = 64; break;               /* MAX_BLOCK_DIM_Z */
    case 5: *value = 2147483647; break;       /* MAX_GRID_DIM_X */
    case 6: case 7: *value = 65535; break;    /* MAX_GRID_DIM_Y, _Z */
    case 8: *value = 49152; break;            /* MAX_SHARED_MEMORY_PER_BLOCK */
    case 10: *value = 32; break;              /* WARP_SIZE */
    case 12: *value = 65536; break;           /* MAX_REGISTERS_PER_BLOCK */
    case 16: *value = MULTIPROCESSORS; break; /* MULTIPROCESSOR_COUNT */
    case 39: *value = 2048; break;            /* MAX_THREADS_PER_MULTIPROCESSOR */
    case 75: *value = major; break;           /* COMPUTE_CAPABILITY_MAJOR */
    case 76: *value = minor; break;           /* COMPUTE_CAPABILITY_MINOR */
    case 97: *value = 232448; break;          /* MAX_SHARED_MEMORY_PER_BLOCK_OPTIN */
    default: *value = 1;                      /* abilities: present */
    }
    return CUDA_SUCCESS;
}

static const struct {
    CUresult error;
    const char *name, *text;
} ERRORS[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
};

static CUresult describe_error(CUresult error, const char **name, const char **text)
{
    for (size_t at = 0; at < sizeof ERRORS / sizeof *ERRORS; at++)
        if (ERRORS[at].error == error) {
            *name = ERRORS[at].name;
            *text = ERRORS[at].text;
            return CUDA_SUCCESS;
        }
    *name = *text = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorName(CUresult error, const char **name)
{
    const char *text;
    return describe_error(error, name, &text);
}

CUresult cuGetErrorString(CUresult error, const char **text)
{
    const char *name;
    return describe_error(error, &name, text);
}

/* --- Contexts: one per device, never destroyed ------------------------------------------------------------------- */

static char contexts[MOST_DEVICES]; /* a context is the address of its device's entry */
static __thread Handle context_stack[64];
static __thread int context_depth = 0;

static Handle current_context(void) { return context_depth ? context_stack[context_depth - 1] : NULL; }

static int current_device(void)
{
    Handle context = current_context();
    return context ? (int)((char *)context - contexts) : -1;
}

CUresult cuDevicePrimaryCtxRetain(Handle *context, CUdevice device)
{
    MAY_FAIL;
    *context = contexts + device;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    (void)device;
    *flags = 0;
    *active = 1;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags) { (void)device; (void)flags; return CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) { (void)device; return CUDA_SUCCESS; }

CUresult cuCtxPushCurrent_v2(Handle context)
{
    if (context_depth == sizeof context_stack / sizeof *context_stack)
        return CUDA_ERROR_INVALID_CONTEXT;
    context_stack[context_depth++] = context;
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(Handle *context)
{
    if (!context_depth)
        return CUDA_ERROR_INVALID_CONTEXT;
    context_depth--;
    if (context)
        *context = context_stack[context_depth];
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(Handle *context) { *context = current_context(); return CUDA_SUCCESS; }

CUresult cuCtxSetCurrent(Handle context)
{
    if (context_depth)
        context_depth--;
    return context ? cuCtxPushCurrent_v2(context) : CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    *device = current_device();
    return *device < 0 ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
}

CUresult cuCtxGetDevice_v2(CUdevice *device, Handle context)
{
    if (!context)
        return cuCtxGetDevice(device);
    *device = (CUdevice)((char *)context - contexts);
    return CUDA_SUCCESS;
}

CUresult cuCtxGetId(Handle context, unsigned long long *id) { *id = (uintptr_t)(context ? context : current_context()); return CUDA_SUCCESS; }
CUresult cuCtxGetApiVersion(Handle context, unsigned *version) { (void)context; return cuDriverGetVersion((int *)version); }
CUresult cuCtxSynchronize(void) { MAY_FAIL; return CUDA_SUCCESS; }

/* --- Memory: the host's ------------------------------------------------------------------------------------------ */

CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes)
{
    MAY_FAIL;
    void *memory = NULL;
    if (!bytes)
        return CUDA_ERROR_INVALID_VALUE;
    if (posix_memalign(&memory, 256, bytes)) /* the alignment of cudaMalloc */
        return CUDA_ERROR_OUT_OF_MEMORY;
    *pointer = (CUdeviceptr)memory;
    return CUDA_SUCCESS;
}

CUresult cuMemFree_v2(CUdeviceptr pointer) { free((void *)pointer); return CUDA_SUCCESS; }

CUresult cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags)
{
    (void)flags;
    MAY_FAIL;
    return posix_memalign(pointer, 256, bytes ? bytes : 1) ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

CUresult cuMemAllocHost_v2(void **pointer, size_t bytes) { return cuMemHostAlloc(pointer, bytes, 0); }
CUresult cuMemFreeHost(void *pointer) { free(pointer); return CUDA_SUCCESS; }

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes)
{
    *free_bytes = FREE_BYTES;
    *total_bytes = DEVICE_BYTES;
    return CUDA_SUCCESS;
}

static CUresult copy(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    memmove((void *)to, (const void *)from, bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) { return copy(to, (CUdeviceptr)from, bytes); }
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) { return copy((CUdeviceptr)to, from, bytes); }
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) { return copy(to, from, bytes); }

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, Handle stream)
{
    (void)stream;
    return copy(to, (CUdeviceptr)from, bytes);
}

CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, Handle stream)
{
    (void)stream;
    return copy((CUdeviceptr)to, from, bytes);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, Handle stream)
{
    (void)stream;
    return copy(to, from, bytes);
}

CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count)
{
    memset((void *)to, value, count);
    return CUDA_SUCCESS;
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, Handle stream)
{
    (void)stream;
    return cuMemsetD8_v2(to, value, count);
}

/* --- Streams and events: everything has happened when a call returns ---------------------------------------------- */

static char handles[1 << 16]; /* a handle is the address of a byte that no other handle has */

static Handle new_handle(void)
{
    static unsigned used = 0;
    unsigned at = __atomic_fetch_add(&used, 1, __ATOMIC_RELAXED);
    return at < sizeof handles ? handles + at : NULL;
}

CUresult cuStreamCreate(Handle *stream, unsigned flags)
{
    (void)flags;
    MAY_FAIL;
    *stream = new_handle();
    return CUDA_SUCCESS;
}

CUresult cuStreamCreateWithPriority(Handle *stream, unsigned flags, int priority) { (void)priority; return cuStreamCreate(stream, flags); }
CUresult cuStreamDestroy_v2(Handle stream) { (void)stream; return CUDA_SUCCESS; }
CUresult cuStreamSynchronize(Handle stream) { (void)stream; MAY_FAIL; return CUDA_SUCCESS; }
CUresult cuStreamQuery(Handle stream) { (void)stream; return CUDA_SUCCESS; }
CUresult cuStreamWaitEvent(Handle stream, Handle event, unsigned flags) { (void)stream; (void)event; (void)flags; return CUDA_SUCCESS; }
CUresult cuStreamGetPriority(Handle stream, int *priority) { (void)stream; *priority = 0; return CUDA_SUCCESS; }
CUresult cuStreamGetDevice(Handle stream, CUdevice *device) { (void)stream; return cuCtxGetDevice(device); }
CUresult cuStreamGetCtx(Handle stream, Handle *context) { (void)stream; return cuCtxGetCurrent(context); }

CUresult cuStreamGetFlags(Handle stream, unsigned *flags)
{
    (void)stream;
    *flags = 1; /* CU_STREAM_NON_BLOCKING */
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx_v2(Handle stream, Handle *context, Handle *green)
{
    if (green)
        *green = NULL;
    return cuStreamGetCtx(stream, context);
}

CUresult cuEventCreate(Handle *event, unsigned flags) { (void)flags; *event = new_handle(); return CUDA_SUCCESS; }
CUresult cuEventDestroy_v2(Handle event) { (void)event; return CUDA_SUCCESS; }
CUresult cuEventRecord(Handle event, Handle stream) { (void)event; (void)stream; return CUDA_SUCCESS; }
CUresult cuEventQuery(Handle event) { (void)event; return CUDA_SUCCESS; }
CUresult cuEventSynchronize(Handle event) { (void)event; return CUDA_SUCCESS; }

CUresult cuEventElapsedTime_v2(float *milliseconds, Handle start, Handle end)
{
    (void)start;
    (void)end;
    *milliseconds = 0;
    return CUDA_SUCCESS;
}

/* --- Machine code ------------------------------------------------------------------------------------------------ */

#define MOST_PARAMETERS 640
#define WORD 8 /* numba's kernels take scalars and the words of arrays */

struct library {
    const unsigned char *image;
};

struct kernel {
    const struct library *library;
    char *name; /* mangled: numba's hold the types of all parameters, kilobytes of them */
    unsigned parameters;
    unsigned offsets[MOST_PARAMETERS], sizes[MOST_PARAMETERS];
};

static uint64_t number(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    memcpy(&value, at, (size_t)bytes);
    return value;
}

/* ELF64, by the offsets of its header and of its section headers. */
static const unsigned char *section_header(const unsigned char *image, unsigned index)
{
    return image + number(image + 0x28, 8) + index * number(image + 0x3A, 2);
}

static unsigned section_count(const unsigned char *image) { return (unsigned)number(image + 0x3C, 2); }
static size_t section_offset(const unsigned char *header) { return number(header + 0x18, 8); }
static size_t section_bytes(const unsigned char *header) { return number(header + 0x20, 8); }
static int is_elf(const unsigned char *image) { return memcmp(image, "\177ELF", 4) == 0; }

static size_t most(size_t first, size_t second) { return first > second ? first : second; }

static size_t elf_bytes(const unsigned char *image)
{
    size_t sections = number(image + 0x28, 8) + section_count(image) * number(image + 0x3A, 2);
    size_t end = most(sections, number(image + 0x20, 8) + number(image + 0x38, 2) * number(image + 0x36, 2));
    for (unsigned at = 0; at < section_count(image); at++) {
        const unsigned char *header = section_header(image, at);
        if (number(header + 4, 4) != 8) /* SHT_NOBITS takes no room in the file */
            end = most(end, section_offset(header) + section_bytes(header));
    }
    return end;
}

static const unsigned char *section_named(const unsigned char *image, const char *prefix, const char *suffix, size_t *bytes)
{
    const unsigned char *names = image + section_offset(section_header(image, (unsigned)number(image + 0x3E, 2)));
    size_t length = strlen(prefix);
    for (unsigned at = 0; at < section_count(image); at++) {
        const unsigned char *header = section_header(image, at);
        const char *name = (const char *)names + number(header, 4);
        if (strncmp(name, prefix, length) == 0 && strcmp(name + length, suffix) == 0) {
            *bytes = section_bytes(header);
            return image + section_offset(header);
        }
    }
    return NULL;
}

/* Section .nv.info.KERNEL: records of a format byte, an attribute byte, two bytes, and in format 4 so many bytes more. */
static void read_parameters(struct kernel *kernel)
{
    enum { SIZED_RECORD = 4, KPARAM_INFO = 0x17 };
    size_t bytes = 0;
    const unsigned char *at = section_named(kernel->library->image, ".nv.info.", kernel->name, &bytes);
    for (const unsigned char *end = at + bytes; at < end;) {
        size_t more = at[0] == SIZED_RECORD ? number(at + 2, 2) : 0;
        if (at[0] == SIZED_RECORD && at[1] == KPARAM_INFO) {
            unsigned ordinal = (unsigned)number(at + 8, 2);
            if (ordinal < MOST_PARAMETERS) {
                kernel->offsets[ordinal] = (unsigned)number(at + 10, 2);
                kernel->sizes[ordinal] = (unsigned)number(at + 12, 4) >> 18;
            }
            kernel->parameters++;
        }
        at += 4 + more;
    }
}

CUresult cuLibraryLoadData(Handle *library, const void *code, void *a, void *b, unsigned c, void *d, void *e, unsigned f)
{
    (void)a; (void)b; (void)c; (void)d; (void)e; (void)f; /* options of a compiler that is not here */
    MAY_FAIL;
    if (!is_elf(code))
        return CUDA_ERROR_NOT_SUPPORTED; /* PTX, which a driver would compile */
    struct library *loaded = malloc(sizeof *loaded);
    unsigned char *image = malloc(elf_bytes(code));
    memcpy(image, code, elf_bytes(code));
    loaded->image = image;
    *library = loaded;
    return CUDA_SUCCESS;
}

CUresult cuLibraryUnload(Handle library) { (void)library; return CUDA_SUCCESS; } /* kernels of remembered launches stay */

CUresult cuLibraryGetKernel(Handle *kernel, Handle library, const char *name)
{
    MAY_FAIL;
    const struct library *loaded = library;
    size_t bytes;
    if (!section_named(loaded->image, ".text.", name, &bytes))
        return CUDA_ERROR_NOT_FOUND;
    struct kernel *found = calloc(1, sizeof *found);
    found->library = loaded;
    found->name = strdup(name);
    read_parameters(found);
    *kernel = found;
    return CUDA_SUCCESS;
}

/* Of a library, the module is the library; of a kernel, the function is the kernel. */
CUresult cuLibraryGetModule(Handle *module, Handle library) { *module = library; return CUDA_SUCCESS; }
CUresult cuKernelGetFunction(Handle *function, Handle kernel) { *function = kernel; return CUDA_SUCCESS; }
CUresult cuKernelGetLibrary(Handle *library, Handle kernel) { *library = (Handle)((struct kernel *)kernel)->library; return CUDA_SUCCESS; }
CUresult cuFuncGetModule(Handle *module, Handle function) { return cuKernelGetLibrary(module, function); }
CUresult cuModuleGetFunction(Handle *function, Handle module, const char *name) { return cuLibraryGetKernel(function, module, name); }
CUresult cuModuleUnload(Handle module) { (void)module; return CUDA_SUCCESS; }

CUresult cuModuleLoadDataEx(Handle *module, const void *code, unsigned options, void *names, void *values)
{
    return cuLibraryLoadData(module, code, NULL, NULL, options, names, values, 0);
}

CUresult cuModuleLoadData(Handle *module, const void *code) { return cuLibraryLoadData(module, code, NULL, NULL, 0, NULL, NULL, 0); }

CUresult cuModuleGetGlobal_v2(CUdeviceptr *pointer, size_t *bytes, Handle module, const char *name)
{
    (void)pointer; (void)bytes; (void)module; (void)name;
    return CUDA_ERROR_NOT_FOUND;
}

/* Numbers of CUfunction_attribute. */
CUresult cuFuncGetAttribute(int *value, int attribute, Handle function)
{
    (void)function;
    switch (attribute) {
    case 0: *value = 1024; break;      /* MAX_THREADS_PER_BLOCK */
    case 4: *value = REGISTERS; break; /* NUM_REGS */
    default: *value = 0;
    }
    return CUDA_SUCCESS;
}

CUresult cuKernelGetAttribute(int *value, int attribute, Handle kernel, CUdevice device)
{
    (void)device;
    return cuFuncGetAttribute(value, attribute, kernel);
}

CUresult cuFuncSetAttribute(Handle function, int attribute, int value) { (void)function; (void)attribute; (void)value; return CUDA_SUCCESS; }

CUresult cuFuncGetParamInfo(Handle function, size_t index, size_t *offset, size_t *size)
{
    const struct kernel *kernel = function;
    if (index >= kernel->parameters)
        return CUDA_ERROR_INVALID_VALUE;
    *offset = kernel->offsets[index];
    if (size)
        *size = kernel->sizes[index];
    return CUDA_SUCCESS;
}

CUresult cuKernelGetParamInfo(Handle kernel, size_t index, size_t *offset, size_t *size) { return cuFuncGetParamInfo(kernel, index, offset, size); }

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, Handle function, int threads, size_t shared_bytes)
{
    (void)function; (void)shared_bytes;
    *blocks = 2048 / threads;
    return CUDA_SUCCESS;
}

/* --- Launches ---------------------------------------------------------------------------------------------------- */

#define REMEMBERED 64

/* tests.support.stand_in_driver has the same fields. */
struct launch {
    const char *kernel;
    Handle stream;
    uint32_t grid[3], block[3];
    uint32_t shared_bytes;
    int32_t device;
    uint32_t parameters;
    uint32_t sizes[MOST_PARAMETERS];
    unsigned char values[MOST_PARAMETERS][WORD];
};

static struct launch launches[REMEMBERED];
static uint64_t launched = 0;

/* How many launches there were, and one of the last REMEMBERED. Not for use while another thread launches. */
uint64_t stand_in_launched(void) { return launched; }
const struct launch *stand_in_launch(uint64_t index) { return launches + index % REMEMBERED; }

/* The parameters come as an array of pointers or, if there is none, as one buffer laid out as the machine code says. */
static const unsigned char *parameter_at(const struct kernel *kernel, void **pointers, void **extra, unsigned index)
{
    enum { BUFFER_POINTER = 1 }; /* CU_LAUNCH_PARAM_BUFFER_POINTER, before its value */
    if (pointers)
        return pointers[index];
    for (; extra && *extra; extra += 2)
        if (*extra == (void *)BUFFER_POINTER)
            return (unsigned char *)extra[1] + kernel->offsets[index];
    return NULL;
}

static CUresult remember(struct launch launch, const struct kernel *kernel, void **pointers, void **extra)
{
    if (kernel->parameters > MOST_PARAMETERS)
        return CUDA_ERROR_NOT_SUPPORTED;
    launch.kernel = kernel->name;
    launch.device = current_device();
    launch.parameters = kernel->parameters;
    for (unsigned at = 0; at < kernel->parameters; at++) {
        const unsigned char *value = parameter_at(kernel, pointers, extra, at);
        if (!value || kernel->sizes[at] > WORD)
            return CUDA_ERROR_INVALID_VALUE;
        launch.sizes[at] = kernel->sizes[at];
        memcpy(launch.values[at], value, kernel->sizes[at]);
    }
    launches[__atomic_fetch_add(&launched, 1, __ATOMIC_SEQ_CST) % REMEMBERED] = launch;
    return CUDA_SUCCESS;
}

struct launch_config { /* CUlaunchConfig */
    unsigned grid[3], block[3], shared_bytes;
    Handle stream;
    void *attributes;
    unsigned attribute_count;
};

CUresult cuLaunchKernelEx(const struct launch_config *config, Handle function, void **parameters, void **extra)
{
    MAY_FAIL;
    struct launch launch = {.stream = config->stream, .shared_bytes = config->shared_bytes};
    memcpy(launch.grid, config->grid, sizeof launch.grid);
    memcpy(launch.block, config->block, sizeof launch.block);
    return remember(launch, function, parameters, extra);
}

CUresult cuLaunchKernel(Handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                        unsigned block_z, unsigned shared_bytes, Handle stream, void **parameters, void **extra)
{
    struct launch_config config = {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, stream, NULL, 0};
    return cuLaunchKernelEx(&config, function, parameters, extra);
}

/* --- Functions by name, which is how cuda-bindings finds them ----------------------------------------------------- */

static CUresult missing(void) { return CUDA_ERROR_NOT_SUPPORTED; }

/* Second versions with other parameters than the first, and the CUDA version that brought them. */
static const struct {
    const char *name;
    int since;
} CHANGED[] = {{"cuCtxGetDevice", 13000}, {"cuStreamGetCtx", 12050}};

static int has_second_version(const char *name, int version)
{
    for (size_t at = 0; at < sizeof CHANGED / sizeof *CHANGED; at++)
        if (strcmp(CHANGED[at].name, name) == 0)
            return version >= CHANGED[at].since;
    return 1;
}

CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *found)
{
    (void)flags;
    static Handle self = NULL;
    Dl_info here;
    char second[256];
    if (!self && dladdr((void *)cuGetProcAddress_v2, &here))
        self = dlopen(here.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    snprintf(second, sizeof second, "%s_v2", name);
    *function = has_second_version(name, version) ? dlsym(self, second) : NULL;
    if (!*function)
        *function = dlsym(self, name);
    if (!*function)
        *function = (void *)missing;
    if (found)
        *found = 0; /* CU_GET_PROC_ADDRESS_SUCCESS */
    return CUDA_SUCCESS;
}

CUresult cuGetProcAddress(const char *name, void **function, int version, uint64_t flags)
{
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
