/* Replays a job file through the C path and writes what comes out, without Python: the same job must give the
 * same bytes from every build (instruction set, compiler, sanitizers, another processor). */
#ifndef IVORIES_REPLAY_H
#define IVORIES_REPLAY_H

#include <stddef.h>
#include <stdint.h>

/* The job: little-endian int32, int64 and float32 values and arrays, one after another. */
int32_t job_int(void);
int64_t job_long(void);
float job_float(void);
/* The next `count` items of `size` bytes, in freshly allocated memory that lives until the program ends. */
void *job_array(size_t count, size_t size);

/* Append to the result; `fail` ends the program with a sentence on stderr. */
void result(const void *bytes, size_t count);
void fail(const char *sentence);
/* Memory of exactly this many bytes (so that a sanitizer sees every step beyond it). */
void *room(size_t bytes);

void replay_fft(void);
void replay_audio(void);
void replay_resample(void);
void replay_strip(void);

#endif
