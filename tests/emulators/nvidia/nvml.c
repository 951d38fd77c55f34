/* NVIDIA's management library, as far as the worker asks it: it answers from the file that NVIDIA_STAND_IN names.
   Each line is "<device>.<key> <value>", or "<key> <value>" for the whole machine; it is read at each call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7 };
static const unsigned long long MIB = 1024ull * 1024;

static int text(const char *key, char *into, unsigned size) {
    const char *path = getenv("NVIDIA_STAND_IN");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512];
    int found = 0;
    while (file && !found && fgets(line, sizeof line, file)) {
        size_t length = strlen(key);
        if (strncmp(line, key, length) || line[length] != ' ') continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(into, size, "%s", line + length + 1);
        found = 1;
    }
    if (file) fclose(file);
    return found;
}

static long long number(const char *key, long long otherwise) {
    char value[64];
    return text(key, value, sizeof value) ? atoll(value) : otherwise;
}

static const char *of(void *device, const char *key) {
    static __thread char full[64];
    snprintf(full, sizeof full, "%d.%s", (int)((long)device - 1), key);
    return full;
}

static int broken(void) { return (int)number("broken", 0); }

int nvmlInitWithFlags(unsigned flags) { (void)flags; return broken(); }
int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    switch (code) {
        case 15: return "GPU is lost";
        case 18: return "Driver/library version mismatch";
        default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *into, unsigned size) {
    return text("driver", into, size) ? SUCCESS : NOT_SUPPORTED;
}

int nvmlSystemGetCudaDriverVersion_v2(int *into) { *into = (int)number("cuda", 12040); return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *into) { *into = (unsigned)number("count", 1); return broken(); }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **into) {
    if (index >= (unsigned)number("count", 1)) return INVALID;
    *into = (void *)(long)(index + 1);
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **into) { (void)uuid; (void)into; return NOT_FOUND; }

int nvmlDeviceGetUUID(void *device, char *into, unsigned size) {
    return text(of(device, "uuid"), into, size) ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetName(void *device, char *into, unsigned size) {
    return text(of(device, "name"), into, size) ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *into) {
    if (broken()) return broken();
    into[0] = (unsigned long long)number(of(device, "total_mib"), 0) * MIB;
    into[2] = (unsigned long long)number(of(device, "used_mib"), 0) * MIB;
    into[1] = into[0] - into[2];
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *into) {
    long long degrees = number(of(device, "temperature_c"), -1);
    (void)sensor;
    *into = (unsigned)degrees;
    return degrees < 0 ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *device, unsigned *into) {
    long long percent = number(of(device, "util"), -1);
    into[0] = (unsigned)percent;
    into[1] = 0;
    return percent < 0 ? NOT_SUPPORTED : SUCCESS;
}

struct process { unsigned pid; unsigned long long bytes; unsigned gpu, compute; };

/* "self_mib" is what whoever asks holds; without it the driver knows no processes of ours, as in a container. */
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct process *into) {
    long long mib = number(of(device, "self_mib"), -1);
    unsigned room = *count;
    *count = 1;
    if (!into || room < 1) return TOO_SMALL;
    memset(into, 0, sizeof *into);
    into->pid = mib < 0 ? 1 : (unsigned)getpid();
    into->bytes = (mib < 0 ? 1234ull : (unsigned long long)mib) * MIB;
    return SUCCESS;
}
