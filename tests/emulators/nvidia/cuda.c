/* CUDA's driver library, as far as the worker tries it. The line "cuda_fails <code>" of the file that
   NVIDIA_STAND_IN names is what a first allocation answers. */
#include <stdio.h>
#include <stdlib.h>

static int fails(void) {
    const char *path = getenv("NVIDIA_STAND_IN");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512];
    int code = 0;
    while (file && fgets(line, sizeof line, file)) sscanf(line, "cuda_fails %d", &code);
    if (file) fclose(file);
    return code;
}

int cuInit(unsigned flags) { (void)flags; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { (void)device; *context = context; return 0; }
int cuCtxSetCurrent(void *context) { (void)context; return 0; }
int cuMemAlloc_v2(unsigned long long *place, size_t bytes) { (void)bytes; *place = 1; return fails(); }
int cuMemsetD8_v2(unsigned long long place, unsigned char value, size_t count) {
    (void)value;
    return place == 1 && count ? 0 : 1;
}
int cuCtxSynchronize(void) { return 0; }
int cuMemFree_v2(unsigned long long place) { return place == 1 ? 0 : 1; }

int cuGetErrorName(int code, const char **into) {
    *into = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 719 ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR_UNKNOWN";
    return 0;
}
